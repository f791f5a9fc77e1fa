#include "runner/encoder/weight_store.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <optional>
#include <set>
#include <utility>

#include "base/try.hpp"

namespace tidegate {
namespace {

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";
constexpr const char* kPickledFiles[] = {"pytorch_model.bin", "pytorch_model.bin.index.json"};
constexpr std::size_t kMaxShards = 1024;

std::optional<DataType> weight_type(std::string_view stored) {
  if (stored == "F32") return DataType::f32;
  if (stored == "F16") return DataType::f16;
  if (stored == "BF16") return DataType::bf16;
  return std::nullopt;
}

}  // namespace

Result<WeightStore> WeightStore::open(ModelFolder& folder, const std::string& part) {
  WeightStore store;
  const std::string single = ModelFolder::join(part, kSingleFile);
  const std::string index = ModelFolder::join(part, kIndexFile);
  if (folder.contains(single)) {
    TIDEGATE_CHECK(store.add_shard(folder, single));
    return store;
  }
  if (folder.contains(index)) {
    TIDEGATE_CHECK(store.add_indexed_shards(folder, part, index));
    return store;
  }
  for (const char* name : kPickledFiles) {
    const std::string pickled = ModelFolder::join(part, name);
    if (!folder.contains(pickled)) continue;
    return Error(ErrorCode::unsupported,
                 fmt::format("'{}' is a pickled file, which can run code when read: convert it to '{}' (in Python: "
                             "save_pretrained with safe_serialization=True)",
                             pickled, single));
  }
  return Error(ErrorCode::not_found, fmt::format("the model folder has no '{}'", single));
}

Result<void> WeightStore::add_shard(ModelFolder& folder, const std::string& file) {
  TIDEGATE_TRY(MappedFile mapped, folder.map(file));
  TIDEGATE_TRY(SafetensorsHeader header, read_safetensors_header(mapped.bytes(), file));
  for (const StoredTensor& tensor : header.tensors) {
    const Found other = find(tensor.name);
    if (other.tensor == nullptr) continue;
    return Error(ErrorCode::corrupt_data,
                 fmt::format("'{}': tensor {} is also in '{}'", file, quote_name(tensor.name), other.shard->file));
  }
  files_.push_back(std::move(mapped));
  shards_.push_back({file, std::move(header)});
  return {};
}

Result<void> WeightStore::add_indexed_shards(ModelFolder& folder, const std::string& part,
                                             const std::string& index_file) {
  TIDEGATE_TRY(const JsonValue root, folder.read_required_json(index_file));
  TIDEGATE_TRY(const JsonFields fields, JsonFields::of(root, index_file));
  const JsonValue* map = fields.find("weight_map");
  if (map == nullptr || map->as_object() == nullptr) return fields.wrong("weight_map", "an object");
  std::set<std::string> shard_names;
  for (const JsonMember& entry : *map->as_object()) {
    const std::string* shard = entry.value.as_string();
    if (shard == nullptr || !ModelFolder::stays_inside(*shard)) {
      return Error(
          ErrorCode::corrupt_data,
          fmt::format("'{}': field 'weight_map' gives tensor {} the file {}, expected a path inside the folder",
                      index_file, quote_name(entry.name), entry.value.describe()));
    }
    shard_names.insert(*shard);
  }
  if (shard_names.size() > kMaxShards) {
    return fields.wrong("weight_map", fmt::format("at most {} files", kMaxShards), ErrorCode::unsupported);
  }
  for (const std::string& name : shard_names) TIDEGATE_CHECK(add_shard(folder, ModelFolder::join(part, name)));
  for (const JsonMember& entry : *map->as_object()) {
    const std::string file = ModelFolder::join(part, *entry.value.as_string());
    const Found found = find(entry.name);
    if (found.tensor != nullptr && found.shard->file == file) continue;
    return Error(ErrorCode::corrupt_data,
                 fmt::format("'{}': tensor {} is missing, expected by '{}'", file, quote_name(entry.name), index_file));
  }
  return {};
}

WeightStore::Found WeightStore::find(std::string_view name) const noexcept {
  for (const Shard& shard : shards_) {
    if (const StoredTensor* tensor = shard.header.find(name)) return {&shard, tensor};
  }
  return {nullptr, nullptr};
}

Result<WeightView> WeightStore::tensor(const std::string& name, const Shape& expected) const {
  const auto [shard, stored] = find(name);
  if (stored == nullptr) {
    const std::string& file = shards_.empty() ? std::string(kSingleFile) : shards_.front().file;
    return Error(ErrorCode::corrupt_data, fmt::format("'{}': tensor '{}' is missing, expected shape [{}]", file, name,
                                                      fmt::join(expected, ", ")));
  }
  if (stored->shape != expected) {
    return Error(ErrorCode::corrupt_data, fmt::format("'{}': tensor '{}' has shape [{}], expected [{}]", shard->file,
                                                      name, fmt::join(stored->shape, ", "), fmt::join(expected, ", ")));
  }
  const auto type = weight_type(stored->type);
  if (!type) {
    return Error(ErrorCode::unsupported, fmt::format("'{}': tensor '{}' has type {}, expected F32, F16 or BF16",
                                                     shard->file, name, stored->type));
  }
  return WeightView{name, *type, stored->shape, stored->bytes};
}

}  // namespace tidegate
