// ModelPacker: a model's weights as one byte image for the kernels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "runner/encoder/aligned_buffer.hpp"
#include "runner/encoder/encoder_model.hpp"
#include "runner/encoder/image_layout.hpp"
#include "runner/encoder/packing_plan.hpp"

namespace tidegate {

/// Decides how weights become integers where rounding each for itself is not the best.
class WeightRounder {
 public:
  virtual ~WeightRounder() = default;
  /// `weights` is [columns, inner], in units of the column's scale: each magnitude is at
  /// most 127. Writes as many integers in -127..127. Called from one thread.
  virtual void round(std::size_t layer, LinearKind kind, std::span<float> weights, std::size_t inner,
                     std::span<std::int8_t> integers) const = 0;
};

/// An image and the plan it follows, whose `words` the packer may have widened.
struct PackedImage {
  PackingPlan plan;
  AlignedArray<std::byte> bytes;
};

/// Packs `model`; views of the image come from view_image. u8: a column's weights are
/// scaled by its largest magnitude / 127 after smoothing and rounded to nearest even
/// (or by `rounder`). f16 words are packed as f32 if f16 would lose more than rounding
/// takes from a normal number. Throws std::bad_alloc. Errors: invalid_argument (the plan
/// does not fit), corrupt_data (a weight to be an integer is not finite).
[[nodiscard]] Result<PackedImage> pack_model(const EncoderModel& model, PackingPlan plan,
                                             const WeightRounder* rounder = nullptr);

}  // namespace tidegate
