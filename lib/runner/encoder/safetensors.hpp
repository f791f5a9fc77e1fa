// SafetensorsHeader: the directory of a safetensors file, checked against the file's size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tidegate/tensor.hpp"

namespace tidegate {

/// One entry of the directory. `type` is the format's own word ("F32", "I64", ...).
struct StoredTensor {
  std::string name;
  std::string type;
  Shape shape;
  std::span<const std::byte> bytes;  ///< inside the file; as long as shape and type say
};

/// Sorted by name. Views the file's bytes.
struct SafetensorsHeader {
  std::vector<StoredTensor> tensors;

  [[nodiscard]] const StoredTensor* find(std::string_view name) const noexcept;
};

/// Reads the header of `contents`, a whole file called `file` in messages. The
/// tensors must cover the rest of the file exactly: no hole, no overlap, nothing
/// after the last. Format: 8 bytes little-endian header length (at most
/// 100,000,000), a JSON object, the tensors' bytes.
/// Errors: corrupt_data, naming file and tensor; unsupported (element type unknown).
[[nodiscard]] Result<SafetensorsHeader> read_safetensors_header(std::span<const std::byte> contents,
                                                                const std::string& file);

}  // namespace tidegate
