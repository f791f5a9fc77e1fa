#include "request/record_codec.hpp"

#include <array>
#include <bit>
#include <cstring>

#include "base/crc32c.hpp"
#include "base/try.hpp"

// Layout, little-endian, offsets from the start of the block:
//    0 u32 magic "TGR1"        16 i64 expiry, Unix milliseconds
//    4 u16 version             24 u32 number of tensors
//    6 u16 flags, zero         28 u32 CRC-32C of every other byte of the block
//    8 u64 bytes after header  32 key digest
//   64 for each tensor: i32 type, u32 rank, u64 bytes, rank x i64 dimension
//      then each tensor's bytes at the next multiple of 64; the gaps are zero.
namespace tidegate {
namespace {

static_assert(std::endian::native == std::endian::little, "records are written as they lie in memory");

constexpr std::uint32_t kMagic = 0x31524754U;  // "TGR1"
constexpr std::uint16_t kVersion = 1;
constexpr std::size_t kHeaderBytes = 64;
constexpr std::size_t kAlignment = 64;
constexpr std::size_t kMagicAt = 0, kVersionAt = 4, kFlagsAt = 6, kLengthAt = 8, kExpiryAt = 16, kCountAt = 24,
                      kChecksumAt = 28, kKeyAt = 32;
constexpr std::size_t kTensorPrefixBytes = 16;

constexpr std::size_t align_up(std::size_t offset) { return (offset + kAlignment - 1) / kAlignment * kAlignment; }

template <class T>
T load(std::span<const std::byte> block, std::size_t at) noexcept {
  T value;
  std::memcpy(&value, block.data() + at, sizeof(value));
  return value;
}

template <class T>
void store(std::vector<std::byte>& block, std::size_t at, const T& value) noexcept {
  std::memcpy(block.data() + at, &value, sizeof(value));
}

std::uint32_t checksum_of(std::span<const std::byte> block) noexcept {
  const std::uint32_t before = crc32c(block.first(kChecksumAt));
  return crc32c(block.subspan(kChecksumAt + sizeof(std::uint32_t)), before);
}

std::size_t record_size(std::span<const Tensor> outputs) noexcept {
  std::size_t size = kHeaderBytes;
  for (const Tensor& tensor : outputs) size += kTensorPrefixBytes + sizeof(std::int64_t) * tensor.shape().size();
  for (const Tensor& tensor : outputs) size = align_up(size) + tensor.bytes().size();
  return size;
}

Error corrupt_table() { return {ErrorCode::corrupt_data, "record: its shapes and types do not fit its length"}; }

Result<void> check_header(const CacheKey& key, std::span<const std::byte> block) {
  if (block.size() < kHeaderBytes) return Error(ErrorCode::corrupt_data, "record: shorter than its header");
  if (load<std::uint32_t>(block, kMagicAt) != kMagic) {
    return Error(ErrorCode::corrupt_data, "record: the magic number differs");
  }
  if (load<std::uint16_t>(block, kVersionAt) != kVersion || load<std::uint16_t>(block, kFlagsAt) != 0) {
    return Error(ErrorCode::corrupt_data, "record: written in another version of the format")
        .with_numbers(load<std::uint16_t>(block, kVersionAt), kVersion);
  }
  if (load<std::uint64_t>(block, kLengthAt) != block.size() - kHeaderBytes) {
    return Error(ErrorCode::corrupt_data, "record: its length differs from the one written in it");
  }
  if (std::memcmp(block.data() + kKeyAt, key.data(), key.size()) != 0) {
    return Error(ErrorCode::corrupt_data, "record: it belongs to another key");
  }
  return {};
}

/// Reads the table and the payload in step with each other; both only move forward
/// and every length is held against what is left before it is used.
class RecordReader {
 public:
  explicit RecordReader(const CacheRecord& record) : record_(record), block_(record.bytes()) {}

  Result<std::vector<Tensor>> read() {
    const std::uint64_t count = load<std::uint32_t>(block_, kCountAt);
    if (count > left(table_at_) / kTensorPrefixBytes) return corrupt_table();
    TIDEGATE_TRY(payload_at_, table_end(count));
    std::vector<Tensor> outputs;
    outputs.reserve(count);
    for (std::uint64_t i = 0; i < count; ++i) {
      TIDEGATE_TRY(Tensor tensor, next());
      outputs.push_back(std::move(tensor));
    }
    if (payload_at_ != block_.size()) return corrupt_table();
    return outputs;
  }

 private:
  [[nodiscard]] std::size_t left(std::size_t at) const noexcept { return at > block_.size() ? 0 : block_.size() - at; }

  [[nodiscard]] Result<std::size_t> table_end(std::uint64_t count) const {
    std::size_t at = table_at_;
    for (std::uint64_t i = 0; i < count; ++i) {
      if (left(at) < kTensorPrefixBytes) return corrupt_table();
      const std::uint64_t rank = load<std::uint32_t>(block_, at + 4);
      at += kTensorPrefixBytes;
      if (rank > left(at) / sizeof(std::int64_t)) return corrupt_table();
      at += rank * sizeof(std::int64_t);
    }
    return at;
  }

  Result<Tensor> next() {
    const auto type = static_cast<DataType>(load<std::int32_t>(block_, table_at_));
    const std::size_t rank = load<std::uint32_t>(block_, table_at_ + 4);
    const auto bytes = load<std::uint64_t>(block_, table_at_ + 8);
    Shape shape(rank);
    if (rank > 0) std::memcpy(shape.data(), block_.data() + table_at_ + kTensorPrefixBytes, rank * sizeof(shape[0]));
    table_at_ += kTensorPrefixBytes + rank * sizeof(shape[0]);

    const std::size_t start = align_up(payload_at_);
    if (start > block_.size() || bytes > left(start)) return corrupt_table();
    payload_at_ = start + bytes;
    auto tensor = Tensor::share(type, std::move(shape), block_.subspan(start, bytes), record_.block());
    if (!tensor) return corrupt_table();
    return tensor;
  }

  const CacheRecord& record_;
  std::span<const std::byte> block_;
  std::size_t table_at_ = kHeaderBytes;
  std::size_t payload_at_ = 0;
};

}  // namespace

CacheRecord encode_record(const CacheKey& key, std::span<const Tensor> outputs, std::int64_t expires_unix_ms) {
  // The allocator aligns the block to 16 bytes, and payloads lie at multiples of 64
  // in it, so a decoded tensor is aligned for every element type.
  std::vector<std::byte> block(record_size(outputs));
  store(block, kMagicAt, kMagic);
  store(block, kVersionAt, kVersion);
  store(block, kLengthAt, static_cast<std::uint64_t>(block.size() - kHeaderBytes));
  store(block, kExpiryAt, expires_unix_ms);
  store(block, kCountAt, static_cast<std::uint32_t>(outputs.size()));
  store(block, kKeyAt, key);

  std::size_t at = kHeaderBytes;
  for (const Tensor& tensor : outputs) {
    store(block, at, static_cast<std::int32_t>(tensor.type()));
    store(block, at + 4, static_cast<std::uint32_t>(tensor.shape().size()));
    store(block, at + 8, static_cast<std::uint64_t>(tensor.bytes().size()));
    at += kTensorPrefixBytes;
    for (const std::int64_t dimension : tensor.shape()) {
      store(block, at, dimension);
      at += sizeof(dimension);
    }
  }
  for (const Tensor& tensor : outputs) {
    at = align_up(at);
    if (!tensor.bytes().empty()) std::memcpy(block.data() + at, tensor.bytes().data(), tensor.bytes().size());
    at += tensor.bytes().size();
  }
  store(block, kChecksumAt, checksum_of(block));
  return std::make_shared<const std::vector<std::byte>>(std::move(block));
}

Result<std::int64_t> verify_record(const CacheKey& key, std::span<const std::byte> block) {
  TIDEGATE_CHECK(check_header(key, block));
  if (load<std::uint32_t>(block, kChecksumAt) != checksum_of(block)) {
    return Error(ErrorCode::corrupt_data, "record: the checksum differs");
  }
  return load<std::int64_t>(block, kExpiryAt);
}

Result<std::vector<Tensor>> decode_record(const CacheKey& key, const CacheRecord& record, ChecksumPolicy checksum) {
  const std::span<const std::byte> block = record.bytes();
  TIDEGATE_CHECK(check_header(key, block));
  if (checksum == ChecksumPolicy::verify && load<std::uint32_t>(block, kChecksumAt) != checksum_of(block)) {
    return Error(ErrorCode::corrupt_data, "record: the checksum differs");
  }
  return RecordReader(record).read();
}

}  // namespace tidegate
