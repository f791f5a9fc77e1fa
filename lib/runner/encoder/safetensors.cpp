#include "runner/encoder/safetensors.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "base/try.hpp"
#include "runner/encoder/json_document.hpp"

namespace tidegate {
namespace {

constexpr std::size_t kLengthBytes = 8;
constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
constexpr std::string_view kMetadata = "__metadata__";

/// Bits per element of every type the format defines.
std::optional<std::uint64_t> bits_of(std::string_view type) {
  struct Entry {
    std::string_view name;
    std::uint64_t bits;
  };
  static constexpr Entry kTypes[] = {
      {"BOOL", 8},    {"U8", 8},      {"I8", 8},   {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F4", 4},
      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"I16", 16}, {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},
      {"U32", 32},    {"F32", 32},    {"I64", 64}, {"U64", 64},    {"F64", 64},    {"C64", 64},
  };
  for (const Entry& entry : kTypes) {
    if (entry.name == type) return entry.bits;
  }
  return std::nullopt;
}

struct Extent {
  std::uint64_t begin;
  std::uint64_t end;
};

Error bad_tensor(const std::string& file, std::string_view tensor, const std::string& problem) {
  return Error(ErrorCode::corrupt_data, fmt::format("'{}': tensor {} {}", file, quote_name(tensor), problem));
}

/// The JSON text between the length and the tensors, its size checked first.
Result<std::string_view> header_text(std::span<const std::byte> contents, const std::string& file) {
  const auto bad_file = [&](const std::string& problem) {
    return Error(ErrorCode::corrupt_data, fmt::format("'{}' is not a safetensors file: {}", file, problem));
  };
  if (contents.size() < kLengthBytes) {
    return bad_file(fmt::format("it has {} bytes, expected at least 8 for the header length", contents.size()));
  }
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i) length |= std::to_integer<std::uint64_t>(contents[i]) << (8 * i);
  const std::uint64_t limit = std::min<std::uint64_t>(kMaxHeaderBytes, contents.size() - kLengthBytes);
  if (length > limit) return bad_file(fmt::format("header length {}, expected at most {}", length, limit));
  const auto header = contents.subspan(kLengthBytes, static_cast<std::size_t>(length));
  const std::string_view text(reinterpret_cast<const char*>(header.data()), header.size());
  if (!text.starts_with('{')) return bad_file("its header does not begin with '{'");
  return text;
}

Result<void> check_metadata(const JsonValue& metadata, const std::string& file) {
  const auto* members = metadata.as_object();
  const auto is_text = [](const JsonMember& member) { return member.value.as_string() != nullptr; };
  if (members == nullptr || !std::all_of(members->begin(), members->end(), is_text)) {
    return Error(ErrorCode::corrupt_data, fmt::format("'{}': '{}' is not an object of strings", file, kMetadata));
  }
  return {};
}

Result<Shape> read_shape(const JsonMember& entry, const std::string& file) {
  const JsonValue* list = entry.value.find("shape");
  if (list == nullptr || list->as_array() == nullptr) {
    return bad_tensor(file, entry.name, "has no list 'shape'");
  }
  Shape shape;
  for (const JsonValue& item : *list->as_array()) {
    const auto extent = item.as_unsigned();
    if (!extent || *extent > std::uint64_t{std::numeric_limits<std::int64_t>::max()}) {
      return bad_tensor(file, entry.name,
                        fmt::format("has {} in 'shape', expected non-negative integers", item.describe()));
    }
    shape.push_back(static_cast<std::int64_t>(*extent));
  }
  return shape;
}

/// Bytes that `shape` elements of `bits` bits take.
Result<std::uint64_t> stored_bytes(const Shape& shape, std::uint64_t bits, const JsonMember& entry,
                                   const std::string& file) {
  std::uint64_t total = bits;
  for (const std::int64_t extent : shape) {
    if (__builtin_mul_overflow(total, static_cast<std::uint64_t>(extent), &total)) {
      return bad_tensor(file, entry.name, "has a 'shape' whose size overflows");
    }
  }
  if (total % 8 != 0) return bad_tensor(file, entry.name, "does not fill whole bytes");
  return total / 8;
}

Result<Extent> read_extent(const JsonMember& entry, const std::string& file) {
  const JsonValue* list = entry.value.find("data_offsets");
  const auto* pair = list == nullptr ? nullptr : list->as_array();
  if (pair == nullptr || pair->size() != 2) {
    return bad_tensor(file, entry.name, "has no pair 'data_offsets'");
  }
  const auto begin = (*pair)[0].as_unsigned();
  const auto end = (*pair)[1].as_unsigned();
  if (!begin || !end) return bad_tensor(file, entry.name, "has 'data_offsets' that are not non-negative integers");
  return Extent{*begin, *end};
}

/// Reads one entry and checks it against the `data` part of the file.
Result<StoredTensor> read_entry(const JsonMember& entry, std::span<const std::byte> data, const std::string& file) {
  if (entry.value.as_object() == nullptr) return bad_tensor(file, entry.name, "is not described by an object");
  const JsonValue* type = entry.value.find("dtype");
  if (type == nullptr || type->as_string() == nullptr) return bad_tensor(file, entry.name, "has no string 'dtype'");
  StoredTensor tensor;
  tensor.name = entry.name;
  tensor.type = *type->as_string();
  const auto bits = bits_of(tensor.type);
  if (!bits) {
    return Error(ErrorCode::unsupported, fmt::format("'{}': tensor {} has the unknown 'dtype' {}", file,
                                                     quote_name(entry.name), quote_name(tensor.type)));
  }
  TIDEGATE_TRY(tensor.shape, read_shape(entry, file));
  TIDEGATE_TRY(const std::uint64_t expected, stored_bytes(tensor.shape, *bits, entry, file));
  TIDEGATE_TRY(const Extent extent, read_extent(entry, file));
  if (extent.begin > extent.end || extent.end > data.size()) {
    return bad_tensor(file, entry.name,
                      fmt::format("has 'data_offsets' [{}, {}], expected an ordered pair within the {} data bytes of "
                                  "the file (is it cut short?)",
                                  extent.begin, extent.end, data.size()));
  }
  if (extent.end - extent.begin != expected) {
    return bad_tensor(file, entry.name,
                      fmt::format("has {} bytes by 'data_offsets', expected {} by 'shape' and 'dtype'",
                                  extent.end - extent.begin, expected));
  }
  tensor.bytes = data.subspan(static_cast<std::size_t>(extent.begin), static_cast<std::size_t>(expected));
  return tensor;
}

/// Every data byte belongs to exactly one tensor.
Result<void> check_cover(const std::vector<StoredTensor>& tensors, std::span<const std::byte> data,
                         const std::string& file) {
  std::vector<const StoredTensor*> by_place;
  by_place.reserve(tensors.size());
  for (const StoredTensor& tensor : tensors) by_place.push_back(&tensor);
  std::sort(by_place.begin(), by_place.end(), [](const StoredTensor* a, const StoredTensor* b) {
    return std::pair(a->bytes.data(), a->bytes.size()) < std::pair(b->bytes.data(), b->bytes.size());
  });
  std::size_t covered = 0;
  for (const StoredTensor* tensor : by_place) {
    const auto begin = static_cast<std::size_t>(tensor->bytes.data() - data.data());
    if (begin != covered) {
      const char* problem = begin < covered ? "overlaps the one before it" : "follows a hole";
      return bad_tensor(file, tensor->name, fmt::format("{}: it begins at {}, expected {}", problem, begin, covered));
    }
    covered = begin + tensor->bytes.size();
  }
  if (covered == data.size()) return {};
  return Error(
      ErrorCode::corrupt_data,
      fmt::format("'{}': the tensors end at data byte {}, expected the end of the file at {} (last tensor: {})", file,
                  covered, data.size(), by_place.empty() ? "none" : quote_name(by_place.back()->name)));
}

}  // namespace

const StoredTensor* SafetensorsHeader::find(std::string_view name) const noexcept {
  const auto before = [](const StoredTensor& tensor, std::string_view wanted) { return tensor.name < wanted; };
  const auto found = std::lower_bound(tensors.begin(), tensors.end(), name, before);
  return found != tensors.end() && found->name == name ? &*found : nullptr;
}

Result<SafetensorsHeader> read_safetensors_header(std::span<const std::byte> contents, const std::string& file) {
  TIDEGATE_TRY(const std::string_view text, header_text(contents, file));
  const auto data = contents.subspan(kLengthBytes + text.size());
  TIDEGATE_TRY(const JsonValue root, parse_json(text, file));
  SafetensorsHeader header;
  for (const JsonMember& entry : *root.as_object()) {
    if (entry.name == kMetadata) {
      TIDEGATE_CHECK(check_metadata(entry.value, file));
      continue;
    }
    TIDEGATE_TRY(StoredTensor tensor, read_entry(entry, data, file));
    header.tensors.push_back(std::move(tensor));
  }
  TIDEGATE_CHECK(check_cover(header.tensors, data, file));
  return header;
}

}  // namespace tidegate
