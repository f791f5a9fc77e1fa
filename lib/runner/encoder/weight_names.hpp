// BERT's tensor names: where the checkpoint keeps what EncoderModel holds.
#pragma once

#include "runner/encoder/weight_store.hpp"

namespace tidegate {

/// Fills embeddings and layers of `model` from `store`, by the sizes in
/// `model.config`; every tensor must have exactly the shape they imply. Names may
/// carry the prefix "bert."; norms may be called weight/bias or gamma/beta.
/// Errors: corrupt_data, unsupported, naming file and tensor.
[[nodiscard]] Result<EncoderModel> with_bert_weights(EncoderModel model, const WeightStore& store);

enum class Bias : std::uint8_t { none, required };

/// `name`.weight [rows, columns] and, where there is a bias, `name`.bias [rows].
[[nodiscard]] Result<LinearWeights> linear_weights(const WeightStore& store, const std::string& name, std::int64_t rows,
                                                   std::int64_t columns, Bias bias);

}  // namespace tidegate
