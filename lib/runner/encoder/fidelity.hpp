// FidelityReport: how closely a packed model agrees with f32, and how fast it is.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "runner/encoder/linear_kind.hpp"
#include "tidegate/modules.hpp"

namespace tidegate {

/// Cosines of embeddings to those of f32.
struct Agreement {
  double mean = 0;
  double p1 = 0;  ///< 99 of 100 texts agree at least so well
  double minimum = 0;

  friend bool operator==(const Agreement&, const Agreement&) = default;
};

/// Of `cosines`, at least one; p1 is interpolated between neighbours. What is not a
/// number counts as -1.
[[nodiscard]] Agreement agreement_of(std::vector<double> cosines);

/// The cosine of each pair of rows of `width` values; two rows of zeros agree.
[[nodiscard]] std::vector<double> cosines_of(std::span<const float> rows, std::span<const float> reference,
                                             std::size_t width);

/// What `automatic` asks of a precision.
[[nodiscard]] Agreement gate_of(Precision precision) noexcept;
[[nodiscard]] bool passes(const Agreement& agreement, const Agreement& gate) noexcept;

/// Where the reach of activations was learned.
enum class CalibrationSource : std::uint8_t { none, probe_texts, user_texts, norms };
[[nodiscard]] std::string_view to_string(CalibrationSource source) noexcept;

/// A product of one layer.
struct LinearPlace {
  std::size_t layer = 0;
  LinearKind kind = LinearKind::qkv;

  friend bool operator==(const LinearPlace&, const LinearPlace&) = default;
};

struct FidelityReport {
  Precision precision = Precision::f32;
  std::size_t texts = 0;  ///< that were judged, none of which tuned anything
  Agreement agreement;
  Agreement gate;
  bool passed = false;
  double alpha = 0;  ///< of the smoothing; 0 = none
  CalibrationSource source = CalibrationSource::none;
  std::vector<LinearPlace> fallbacks;  ///< int8: what runs in bf16, the most sensitive first
  std::string kernels;                 ///< that the speeds were measured with
  double tokens_per_second = 0;        ///< on the machine that packed, its threads included
  double f32_tokens_per_second = 0;

  friend bool operator==(const FidelityReport&, const FidelityReport&) = default;
};

/// One line for a note: "int8 agrees with f32 to .99951 (p1 .9984, ...".
[[nodiscard]] std::string describe(const FidelityReport& report);

[[nodiscard]] std::string to_json(const FidelityReport& report);
/// Errors: corrupt_data (names the field).
[[nodiscard]] Result<FidelityReport> fidelity_from_json(std::string_view text);

struct PrecisionChoice {
  Precision precision = Precision::f32;
  std::string reason;
};

/// The fastest precision whose report passes its gate; f32, which needs none, unless one
/// is faster. The speeds must have been measured with the same kernels.
[[nodiscard]] PrecisionChoice choose_precision(std::span<const FidelityReport> reports);

}  // namespace tidegate
