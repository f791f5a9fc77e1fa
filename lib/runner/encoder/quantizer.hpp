// Quantizer: finds the fastest plan of a precision that agrees with f32, and judges it.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/team.hpp"
#include "runner/encoder/activation_statistics.hpp"
#include "runner/encoder/fidelity.hpp"
#include "runner/encoder/kernels.hpp"
#include "runner/encoder/model_packer.hpp"
#include "runner/encoder/packed_file.hpp"

namespace tidegate {

/// Where plans are tried out: a network, or a test's idea of one.
class Workbench {
 public:
  virtual ~Workbench() = default;
  /// The embeddings of `texts`, rows of the model's dimension. Errors end the search.
  [[nodiscard]] virtual Result<std::vector<float>> embed(const PackedImage& image,
                                                         std::span<const std::string> texts) = 0;
  /// Shows `observer` what `texts` send into each product of an f32 `image`.
  [[nodiscard]] virtual Result<void> observe(const PackedImage& image, std::span<const std::string> texts,
                                             ActivationObserver& observer) = 0;
  [[nodiscard]] virtual Result<double> tokens_per_second(const PackedImage& image) = 0;
};

struct QuantizerOptions {
  Precision precision = Precision::int8;      ///< bf16 or int8
  std::span<const std::string> texts;         ///< instead of the built-in ones; a few are joined by those
  std::function<void(double done)> progress;  ///< 0 to 1; may be empty
  std::size_t moment_bytes = kMomentBytes;    ///< as of ActivationStatistics
};

struct QuantizedModel {
  PackedImage image;
  FidelityReport report;
};

/// Of what `quantize` makes: the settings cover its revision and the built-in texts.
[[nodiscard]] PackKey pack_key(const EncoderModel& model, Precision precision, std::span<const std::string> texts);

/// Every second text tunes, the others judge. int8: the smoothing that agrees best on the
/// tuning texts, weights rounded by GptqRounder; then the products that disturb most
/// change to bf16 one by one until the gate is passed or half of them have. The result
/// may have failed its gate: the report says so. Throws std::bad_alloc. Errors:
/// invalid_argument (precision), those of the workbench and of pack_model.
[[nodiscard]] Result<QuantizedModel> quantize(const EncoderModel& model, const QuantizerOptions& options,
                                              const Kernels& kernels, Team& team, Workbench& workbench);

}  // namespace tidegate
