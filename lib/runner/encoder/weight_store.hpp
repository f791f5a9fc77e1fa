// WeightStore: the tensors of one model part, in one safetensors file or several shards.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "runner/encoder/encoder_model.hpp"
#include "runner/encoder/model_folder.hpp"
#include "runner/encoder/safetensors.hpp"

namespace tidegate {

class WeightStore {
 public:
  /// Opens `part`/model.safetensors or the shards that model.safetensors.index.json
  /// names. Errors: not_found, corrupt_data, unsupported (only a pickled file is there).
  [[nodiscard]] static Result<WeightStore> open(ModelFolder& folder, const std::string& part);

  [[nodiscard]] bool contains(std::string_view name) const noexcept { return find(name).tensor != nullptr; }

  /// A view of `name`, which must have exactly the shape `expected` and type F32,
  /// F16 or BF16. Errors: corrupt_data, unsupported, naming file and tensor.
  [[nodiscard]] Result<WeightView> tensor(const std::string& name, const Shape& expected) const;

  /// Hands over what the views point into.
  [[nodiscard]] std::vector<MappedFile> take_files() && { return std::move(files_); }

 private:
  struct Shard {
    std::string file;
    SafetensorsHeader header;
  };
  struct Found {
    const Shard* shard;
    const StoredTensor* tensor;
  };

  WeightStore() = default;
  [[nodiscard]] Result<void> add_shard(ModelFolder& folder, const std::string& file);
  [[nodiscard]] Result<void> add_indexed_shards(ModelFolder& folder, const std::string& part,
                                                const std::string& index_file);
  [[nodiscard]] Found find(std::string_view name) const noexcept;

  std::vector<MappedFile> files_;
  std::vector<Shard> shards_;  // no tensor is in two of them
};

}  // namespace tidegate
