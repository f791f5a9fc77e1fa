// ImageLayout: where the parts of a packed model lie within its byte image.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "runner/encoder/encoder_model.hpp"
#include "runner/encoder/packed_model.hpp"
#include "runner/encoder/packing_plan.hpp"

namespace tidegate {

/// Every section of an image starts on a cache line, if the image does.
inline constexpr std::size_t kImageAlignment = 64;

/// Whether `plan` can be laid out for `model`. Errors: invalid_argument.
[[nodiscard]] Result<void> check_plan(const EncoderModel& model, const PackingPlan& plan);

/// Size of the image of a checked plan in bytes, a multiple of kImageAlignment.
[[nodiscard]] std::size_t image_size(const EncoderModel& model, const PackingPlan& plan);

/// Views of an image of at least `image_size` bytes. The layout follows from model and
/// plan alone, so that no offset is ever read from a file. Without packed words the
/// view is into the model's own file.
[[nodiscard]] PackedModel view_image(const EncoderModel& model, const PackingPlan& plan, const std::byte* image);

}  // namespace tidegate
