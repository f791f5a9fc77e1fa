#include "request/record_codec.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include "base/crc32c.hpp"
#include "base/try.hpp"

// The layout is told in docs/cache_record.md.
namespace tidegate {
namespace {

static_assert(std::endian::native == std::endian::little, "records are written as they lie in memory");

constexpr std::uint16_t kMagic = 0x4754U;  // "TG"
constexpr std::uint8_t kVersion = 2;
constexpr std::uint8_t kRawTensors = 0;
constexpr std::size_t kAlignment = 64;
constexpr std::size_t kMagicAt = 0, kVersionAt = 2, kEncodingAt = 3, kPayloadBytesAt = 4, kCostAt = 8, kChecksumAt = 12,
                      kExpiryAt = 16, kReservedAt = 24, kKeyAt = 32;
/// The number of bytes of the table, behind it.
constexpr std::size_t kTableSizeBytes = sizeof(std::uint32_t);
/// A number of 64 bits in steps of seven.
constexpr std::size_t kMostVarintBytes = 10;

constexpr std::size_t align_up(std::size_t offset) { return (offset + kAlignment - 1) / kAlignment * kAlignment; }

template <class T>
T load(std::span<const std::byte> block, std::size_t at) noexcept {
  T value;
  std::memcpy(&value, block.data() + at, sizeof(value));
  return value;
}

template <class T>
void store(std::span<std::byte> block, std::size_t at, const T& value) noexcept {
  std::memcpy(block.data() + at, &value, sizeof(value));
}

std::uint32_t checksum_of(std::span<const std::byte> block) noexcept {
  const std::uint32_t before = crc32c(block.first(kChecksumAt));
  return crc32c(block.subspan(kChecksumAt + sizeof(std::uint32_t)), before);
}

Error corrupt_table() { return {ErrorCode::corrupt_data, "record: its shapes and types do not fit its length"}; }

void append_varint(std::vector<std::byte>& table, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) table.push_back(static_cast<std::byte>(value | 0x80));
  table.push_back(static_cast<std::byte>(value));
}

std::vector<std::byte> table_of(std::span<const Tensor> outputs) {
  std::vector<std::byte> table;
  for (const Tensor& tensor : outputs) {
    table.push_back(static_cast<std::byte>(tensor.type()));
    append_varint(table, tensor.shape().size());
    for (const std::int64_t dimension : tensor.shape()) append_varint(table, static_cast<std::uint64_t>(dimension));
  }
  return table;
}

std::size_t payload_size(std::span<const Tensor> outputs) noexcept {
  std::size_t size = 0;
  for (const Tensor& tensor : outputs) size = align_up(size) + tensor.bytes().size();
  return size;
}

/// Microseconds, as much as the header has room for.
std::uint32_t written_cost(Duration cost) noexcept {
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(cost).count();
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(micros, 0, std::numeric_limits<std::uint32_t>::max()));
}

/// Everything but body and checksum; the block is zero so far.
void write_header(std::span<std::byte> block, const CacheKey& key, const RecordFacts& facts, std::size_t payload) {
  store(block, kMagicAt, kMagic);
  store(block, kVersionAt, kVersion);
  store(block, kEncodingAt, kRawTensors);
  store(block, kPayloadBytesAt, static_cast<std::uint32_t>(payload));
  store(block, kCostAt, written_cost(facts.recompute_cost));
  store(block, kExpiryAt, facts.expires_unix_ms);
  store(block, kKeyAt, key);
}

/// Payload and table of a body, each held against its length.
Result<std::pair<std::span<const std::byte>, std::span<const std::byte>>> split(std::span<const std::byte> body) {
  if (body.size() < kTableSizeBytes) return corrupt_table();
  const std::size_t before = body.size() - kTableSizeBytes;
  const std::size_t table = load<std::uint32_t>(body, before);
  if (table > before) return corrupt_table();
  return std::pair(body.first(before - table), body.subspan(before - table, table));
}

Result<void> check_header(const CacheKey& key, std::span<const std::byte> block) {
  if (block.size() < kRecordHeaderBytes) return Error(ErrorCode::corrupt_data, "record: shorter than its header");
  if (load<std::uint16_t>(block, kMagicAt) != kMagic) {
    return Error(ErrorCode::corrupt_data, "record: the magic number differs");
  }
  if (load<std::uint8_t>(block, kVersionAt) != kVersion || load<std::uint8_t>(block, kEncodingAt) != kRawTensors ||
      load<std::uint64_t>(block, kReservedAt) != 0) {
    return Error(ErrorCode::corrupt_data, "record: written in another version of the format")
        .with_numbers(load<std::uint8_t>(block, kVersionAt), kVersion);
  }
  const auto parts = split(block.subspan(kRecordHeaderBytes));
  if (!parts || parts->first.size() != load<std::uint32_t>(block, kPayloadBytesAt)) {
    return Error(ErrorCode::corrupt_data, "record: its length differs from the one written in it");
  }
  if (std::memcmp(block.data() + kKeyAt, key.data(), key.size()) != 0) {
    return Error(ErrorCode::corrupt_data, "record: it belongs to another key");
  }
  return {};
}

/// Reads the table and the payload in step with each other; both only move forward
/// and every length is held against what is left before it is used.
class BodyReader {
 public:
  BodyReader(std::span<const std::byte> payload, std::span<const std::byte> table,
             const std::shared_ptr<const void>& owner)
      : payload_(payload), table_(table), owner_(owner) {}

  Result<std::vector<Tensor>> read() {
    std::vector<Tensor> outputs;
    while (!table_.empty()) {
      TIDEGATE_TRY(Tensor tensor, next());
      outputs.push_back(std::move(tensor));
    }
    if (payload_at_ != payload_.size()) return corrupt_table();
    return outputs;
  }

 private:
  /// The next number; only its shortest form is taken, so that a table has one form.
  Result<std::uint64_t> next_varint() {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < std::min(kMostVarintBytes, table_.size()); ++i) {
      const auto byte = std::to_integer<std::uint64_t>(table_[i]);
      value |= (byte & 0x7F) << (7 * i);
      if (byte >= 0x80) continue;
      const bool longer_than_needed = i > 0 && byte == 0;
      const bool above_64_bits = i + 1 == kMostVarintBytes && byte > 1;
      if (longer_than_needed || above_64_bits) break;
      table_ = table_.subspan(i + 1);
      return value;
    }
    return corrupt_table();
  }

  Result<Tensor> next() {
    const auto type = static_cast<DataType>(std::to_integer<std::int32_t>(table_.front()));
    table_ = table_.subspan(1);
    TIDEGATE_TRY(const std::uint64_t rank, next_varint());
    if (rank > table_.size()) return corrupt_table();
    Shape shape;
    shape.reserve(rank);
    for (std::uint64_t i = 0; i < rank; ++i) {
      TIDEGATE_TRY(const std::uint64_t dimension, next_varint());
      shape.push_back(static_cast<std::int64_t>(dimension));
    }
    const std::int64_t count = element_count(shape);
    const std::size_t size = byte_size(type);
    const std::size_t start = align_up(payload_at_);
    const std::size_t left = start < payload_.size() ? payload_.size() - start : 0;
    if (count < 0 || size == 0 || static_cast<std::uint64_t>(count) > left / size) return corrupt_table();
    const std::size_t bytes = static_cast<std::size_t>(count) * size;
    // An empty tensor at the end may begin past the payload's last byte.
    const std::size_t begin = std::min(start, payload_.size());
    payload_at_ = start + bytes;
    auto tensor = Tensor::share(type, std::move(shape), payload_.subspan(begin, bytes), owner_);
    if (!tensor) return corrupt_table();
    return tensor;
  }

  const std::span<const std::byte> payload_;
  std::span<const std::byte> table_;  ///< what is not read yet
  const std::shared_ptr<const void>& owner_;
  std::size_t payload_at_ = 0;
};

}  // namespace

CacheRecord encode_record(const CacheKey& key, std::span<const Tensor> outputs, std::int64_t expires_unix_ms,
                          Duration recompute_cost) {
  const std::size_t payload = payload_size(outputs);
  const std::vector<std::byte> table = table_of(outputs);
  constexpr std::size_t kMost = std::numeric_limits<std::uint32_t>::max();
  if (payload > kMost || table.size() > kMost) return {};
  // The allocator aligns the block to 16 bytes, and payloads lie at multiples of 64
  // in it, so a decoded tensor is aligned for every element type.
  std::vector<std::byte> block(kRecordHeaderBytes + payload + table.size() + kTableSizeBytes);
  write_header(block, key, {expires_unix_ms, recompute_cost}, payload);
  std::size_t at = kRecordHeaderBytes;
  for (const Tensor& tensor : outputs) {
    at = align_up(at);
    if (!tensor.bytes().empty()) std::memcpy(block.data() + at, tensor.bytes().data(), tensor.bytes().size());
    at += tensor.bytes().size();
  }
  std::copy(table.begin(), table.end(), block.begin() + static_cast<std::ptrdiff_t>(at));
  store(block, at + table.size(), static_cast<std::uint32_t>(table.size()));
  store(block, kChecksumAt, checksum_of(block));
  return std::make_shared<const std::vector<std::byte>>(std::move(block));
}

CacheRecord join_record(const CacheKey& key, const RecordFacts& facts, std::span<const std::byte> body) {
  const auto parts = split(body);
  if (!parts) return {};
  std::vector<std::byte> block(kRecordHeaderBytes + body.size());
  write_header(block, key, facts, parts->first.size());
  std::copy(body.begin(), body.end(), block.begin() + kRecordHeaderBytes);
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

Result<RecordFacts> record_facts(const CacheKey& key, std::span<const std::byte> block) {
  TIDEGATE_CHECK(check_header(key, block));
  return RecordFacts{load<std::int64_t>(block, kExpiryAt),
                     std::chrono::microseconds(load<std::uint32_t>(block, kCostAt))};
}

Result<std::vector<Tensor>> decode_body(std::span<const std::byte> body, const std::shared_ptr<const void>& owner) {
  TIDEGATE_TRY(const auto parts, split(body));
  return BodyReader(parts.first, parts.second, owner).read();
}

Result<std::vector<Tensor>> decode_record(const CacheKey& key, const CacheRecord& record, ChecksumPolicy checksum) {
  const std::span<const std::byte> block = record.bytes();
  TIDEGATE_CHECK(check_header(key, block));
  if (checksum == ChecksumPolicy::verify && load<std::uint32_t>(block, kChecksumAt) != checksum_of(block)) {
    return Error(ErrorCode::corrupt_data, "record: the checksum differs");
  }
  return decode_body(block.subspan(kRecordHeaderBytes), record.block());
}

}  // namespace tidegate
