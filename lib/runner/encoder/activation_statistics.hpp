// ActivationStatistics: what goes into the products of an f32 network, summed up.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "runner/encoder/aligned_buffer.hpp"
#include "runner/encoder/encoder_model.hpp"
#include "runner/encoder/kernels.hpp"
#include "runner/encoder/linear_kind.hpp"

namespace tidegate {

/// Of the input of one product.
struct InputStatistics {
  std::size_t width = 0;
  std::vector<float> reach;     ///< [width]: the largest magnitude of each channel
  std::size_t rows = 0;         ///< that `moments` sums up; 0 where it is not gathered
  AlignedArray<float> moments;  ///< [width, width] or empty, of use where column <= row: sums of x_row * x_column
};

/// Moments held at a time: those of MiniLM's six layers are 67 MB, of a model with 24
/// layers of 1024 they would be 1.9 GB.
inline constexpr std::size_t kMomentBytes = std::size_t{256} << 20;

/// Not thread-safe. Keeps the reach of every product's input, and moments of as many
/// layers at a time as fit `moment_bytes`, at least one: the first ones, until others
/// are asked for.
class ActivationStatistics final : public ActivationObserver {
 public:
  /// `kernels` multiply f32. Throws std::bad_alloc.
  ActivationStatistics(const EncoderConfig& config, const Kernels& kernels, std::size_t moment_bytes = kMomentBytes);

  /// How many layers' moments are gathered at a time.
  [[nodiscard]] std::size_t layers_together() const noexcept { return layers_together_; }
  /// Forgets all moments; from now on gathers those of `layers_together` layers from
  /// `first` on. Throws std::bad_alloc.
  void gather(std::size_t first);

  /// Rows beyond the first few thousand of a product count for its reach only.
  void observe(std::size_t layer, LinearKind kind, const float* x, std::size_t stride, std::size_t rows,
               std::size_t width) override;

  /// Adds rows that wait to be summed up; to be called before `of`.
  void finish();

  [[nodiscard]] const InputStatistics& of(std::size_t layer, LinearKind kind) const noexcept {
    return inputs_[layer * kLinearKinds + static_cast<std::size_t>(kind)].statistics;
  }

 private:
  struct Input {
    InputStatistics statistics;
    AlignedArray<float> waiting;  // [kRowsTogether, width], or empty: moments are not gathered
    std::size_t waiting_rows = 0;
  };

  void sum_up(Input& input);

  const Kernels* kernels_;
  std::size_t layers_together_ = 1;
  std::vector<Input> inputs_;
  // One block of rows by columns, as the operands of a product, and its result.
  AlignedArray<float> transposed_;
  AlignedArray<float> strips_;
  AlignedArray<float> sums_;
};

}  // namespace tidegate
