// PreparedNetwork: a model's numbers in the precision asked for, from their packed file
// or made anew, and why this precision was taken.
#pragma once

#include <string>
#include <vector>

#include "runner/encoder/sequence_encoder.hpp"
#include "runner/encoder/tokenizer.hpp"
#include "tidegate/modules.hpp"

namespace tidegate {

struct PreparedNetwork {
  NetworkImage image;
  Precision precision = Precision::f32;  ///< never automatic
  Digest image_digest{};                 ///< zero for f32, which follows from the model alone
  std::vector<std::string> notes;
};

/// Uses `options`' precision, calibration texts, pack folder and progress. What has to be
/// quantized is tried out with the fastest kernels of this machine, whatever `kernels`
/// will run it; `automatic` compares speeds with `kernels`, which it times where a packed
/// file's report is of others. Throws std::bad_alloc. Errors: those of quantize.
[[nodiscard]] Result<PreparedNetwork> prepare_network(const EncoderModel& model, const Tokenizer& tokenizer,
                                                      const TextEncoderOptions& options, const Kernels& kernels,
                                                      Team& team);

/// Digests of the folder's files that its packed files remember.
[[nodiscard]] std::vector<KnownFile> remembered_files(const TextEncoderOptions& options);

}  // namespace tidegate
