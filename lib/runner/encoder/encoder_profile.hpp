// Where a text encoder's time goes, and how near its products come to the machine's peak.
#pragma once

#include <span>
#include <string>

#include "runner/encoder/text_encoder.hpp"

namespace tidegate {

/// Operations/s (a multiply-add is two) of one thread in products of `number` with the
/// kernels `set`, or with oneDNN where that is faster and the processor has tiles for
/// them; operands stay in the first two levels of cache. Takes a tenth of a second. 0 if
/// oneDNN fails. Throws std::bad_alloc.
[[nodiscard]] double product_peak(KernelSet set, Number number);

/// Encodes `texts` in batches of `batch_size`, in their order, and measures; the first
/// batch is run once before, unmeasured. `runner` was made with the instruction set `set`
/// and nobody else uses it. Errors: invalid_argument (no texts, batch_size, a text, named
/// by its place); those of a batch. Throws std::bad_alloc.
[[nodiscard]] Result<EncoderProfile> profile(TextEncoderRunner& runner, KernelSet set,
                                             std::span<const std::string> texts, std::size_t batch_size);

/// profile_text_encoder: the same with a runner of its own.
[[nodiscard]] Result<EncoderProfile> profile_encoder(const TextEncoderOptions& options,
                                                     std::span<const std::string> texts, std::size_t batch_size);

}  // namespace tidegate
