#include "request/record_codec.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <random>

using namespace tidegate;

namespace {

CacheKey counting_key() {
  CacheKey key;
  for (std::size_t i = 0; i < key.size(); ++i) key[i] = static_cast<std::uint8_t>(i);
  return key;
}

std::vector<std::byte> copy_bytes(const CacheRecord& record) { return {record.bytes().begin(), record.bytes().end()}; }

CacheRecord record_of(std::vector<std::byte> bytes) {
  // A block of exactly this capacity, so that a sanitizer sees every read past its end.
  return std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.end());
}

template <class T>
void patch(std::vector<std::byte>& block, std::size_t at, T value) {
  std::memcpy(block.data() + at, &value, sizeof(value));
}

std::uint32_t load_payload(const std::vector<std::byte>& block) {
  std::uint32_t bytes = 0;
  std::memcpy(&bytes, block.data() + 4, sizeof(bytes));
  return bytes;
}

bool is_corrupt(const CacheRecord& record, ChecksumPolicy policy = ChecksumPolicy::verify) {
  auto decoded = decode_record(counting_key(), record, policy);
  return !decoded && decoded.error().code() == ErrorCode::corrupt_data && !decoded.error().message().empty();
}

bool lies_inside(const Tensor& tensor, const CacheRecord& record) {
  const auto block = record.bytes();
  return tensor.bytes().data() >= block.data() &&
         tensor.bytes().data() + tensor.bytes().size() <= block.data() + block.size();
}

Tensor random_tensor(std::mt19937_64& random, DataType type, Shape shape) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(element_count(shape)) * byte_size(type));
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  auto tensor = Tensor::copy_of(type, std::move(shape), bytes);
  REQUIRE(tensor);
  return *tensor;
}

std::vector<Tensor> sample_outputs() {
  std::mt19937_64 random(11);
  return {random_tensor(random, DataType::f32, {2, 3}), random_tensor(random, DataType::i64, {}),
          random_tensor(random, DataType::u8, {0, 4}), random_tensor(random, DataType::bf16, {5})};
}

void check_equal(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    CHECK(a[i].type() == b[i].type());
    CHECK(a[i].shape() == b[i].shape());
    CHECK(std::ranges::equal(a[i].bytes(), b[i].bytes()));
  }
}

}  // namespace

TEST_CASE("record codec: the bytes of a record are fixed") {
  // Written out by hand (and by a Python script) from docs/cache_record.md.
  static constexpr char kGolden[] =
      "544702000800000000000000c2d5026b7b68e5cf8b0100000000000000000000000102030405060708090a0b0c0d0e0f"
      "101112131415161718191a1b1c1d1e1f0000803f000000c001010203000000";
  const std::vector<float> values{1.0F, -2.0F};
  const std::vector<Tensor> outputs{Tensor::vector_of(values)};
  const CacheRecord record = encode_record(counting_key(), outputs, 1700000000123);
  std::string hex;
  for (const std::byte byte : record.bytes()) {
    static constexpr char kDigits[] = "0123456789abcdef";
    hex += kDigits[std::to_integer<int>(byte) >> 4];
    hex += kDigits[std::to_integer<int>(byte) & 15];
  }
  CHECK(hex == kGolden);
}

TEST_CASE("record codec: what goes in comes out, sharing the block, aligned") {
  std::mt19937_64 random(5);
  const std::vector<DataType> types{DataType::f32, DataType::f64, DataType::f16, DataType::bf16, DataType::i8,
                                    DataType::i16, DataType::i32, DataType::i64, DataType::u8,   DataType::boolean};
  for (int round = 0; round < 300; ++round) {
    std::vector<Tensor> outputs;
    const std::size_t count = random() % 5;
    for (std::size_t i = 0; i < count; ++i) {
      Shape shape(random() % 4);
      for (auto& dimension : shape) dimension = static_cast<std::int64_t>(random() % 6);
      outputs.push_back(random_tensor(random, types[random() % types.size()], std::move(shape)));
    }
    const CacheRecord record = encode_record(counting_key(), outputs, static_cast<std::int64_t>(random()));
    for (const ChecksumPolicy policy : {ChecksumPolicy::verify, ChecksumPolicy::trust}) {
      auto decoded = decode_record(counting_key(), record, policy);
      REQUIRE(decoded);
      check_equal(*decoded, outputs);
      for (const Tensor& tensor : *decoded) {
        CHECK(lies_inside(tensor, record));
        CHECK((tensor.bytes().data() - record.bytes().data()) % 64 == 0);
        CHECK(reinterpret_cast<std::uintptr_t>(tensor.bytes().data()) % 8 == 0);
      }
    }
  }
}

TEST_CASE("record codec: decoded tensors keep the block alive") {
  std::vector<Tensor> decoded;
  std::weak_ptr<const std::vector<std::byte>> block;
  {
    const CacheRecord record = encode_record(counting_key(), sample_outputs(), 0);
    block = record.block();
    auto result = decode_record(counting_key(), record, ChecksumPolicy::verify);
    REQUIRE(result);
    decoded = *std::move(result);
  }
  check_equal(decoded, sample_outputs());
  CHECK_FALSE(block.expired());
  decoded.clear();
  CHECK(block.expired());
}

TEST_CASE("record codec: a record cut at any byte, or longer by any, is corrupt") {
  const std::vector<std::byte> whole = copy_bytes(encode_record(counting_key(), sample_outputs(), 1));
  CHECK(is_corrupt(CacheRecord()));
  std::size_t accepted = 0;
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const std::vector<std::byte> part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    if (!is_corrupt(record_of(part))) ++accepted;
    if (!is_corrupt(record_of(part), ChecksumPolicy::trust)) ++accepted;
  }
  for (std::size_t more = 1; more < 130; ++more) {
    std::vector<std::byte> longer = whole;
    longer.resize(whole.size() + more);
    if (!is_corrupt(record_of(longer), ChecksumPolicy::trust)) ++accepted;
    patch(longer, 4, load_payload(whole) + static_cast<std::uint32_t>(more));
    if (!is_corrupt(record_of(longer), ChecksumPolicy::trust)) ++accepted;
  }
  CHECK(accepted == 0);
}

TEST_CASE("record codec: a single wrong bit anywhere is corrupt") {
  const std::vector<std::byte> whole = copy_bytes(encode_record(counting_key(), sample_outputs(), 1));
  std::size_t accepted = 0;
  for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::vector<std::byte> block = whole;
    block[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    const CacheRecord record = record_of(block);
    if (!is_corrupt(record)) ++accepted;
    // Without the checksum the numbers may differ, but never reach outside the block.
    if (auto decoded = decode_record(counting_key(), record, ChecksumPolicy::trust)) {
      for (const Tensor& tensor : *decoded) CHECK(lies_inside(tensor, record));
    }
  }
  CHECK(accepted == 0);
}

TEST_CASE("record codec: each field of the header is held against the record, and named") {
  const std::vector<std::byte> whole = copy_bytes(encode_record(counting_key(), sample_outputs(), 1));
  const auto message = [](const std::vector<std::byte>& block) {
    auto decoded = decode_record(counting_key(), record_of(block), ChecksumPolicy::verify);
    return decoded ? std::string("accepted") : std::string(decoded.error().message());
  };
  std::vector<std::byte> block = whole;
  patch(block, 0, std::uint16_t{0x4755});
  CHECK(message(block).find("magic") != std::string::npos);
  block = whole;
  patch(block, 2, std::uint8_t{3});
  CHECK(message(block).find("version") != std::string::npos);
  block = whole;
  patch(block, 3, std::uint8_t{1});
  CHECK(message(block).find("version") != std::string::npos);
  for (const std::size_t reserved : {24U, 31U}) {
    block = whole;
    patch(block, reserved, std::uint8_t{1});
    CHECK(message(block).find("version") != std::string::npos);
  }
  for (const std::uint32_t payload : {0U, load_payload(whole) - 1, load_payload(whole) + 1, ~0U}) {
    block = whole;
    patch(block, 4, payload);
    CHECK(message(block).find("length") != std::string::npos);
  }
  block = whole;
  patch(block, 8, std::uint32_t{2});
  CHECK(message(block).find("checksum") != std::string::npos);
  block = whole;
  patch(block, 16, std::int64_t{2});
  CHECK(message(block).find("checksum") != std::string::npos);
  block = whole;
  patch(block, 63, std::uint8_t{0});
  CHECK(message(block).find("key") != std::string::npos);
}

TEST_CASE("record codec: another key's record is corrupt, whichever byte differs") {
  const CacheRecord record = encode_record(counting_key(), sample_outputs(), 1);
  for (std::size_t i = 0; i < 32; ++i) {
    CacheKey other = counting_key();
    other[i] ^= 0x80;
    auto decoded = decode_record(other, record, ChecksumPolicy::trust);
    REQUIRE_FALSE(decoded);
    CHECK(decoded.error().code() == ErrorCode::corrupt_data);
  }
}

TEST_CASE("record codec: absurd tables are corrupt without the checksum") {
  // The table of the sample: f32[2,3], i64[], u8[0,4], bf16[5]; in front of it 138 bytes of payload.
  const std::vector<std::uint8_t> sound{1, 2, 2, 3, 8, 0, 9, 2, 0, 4, 4, 1, 5};
  const std::vector<std::byte> whole = copy_bytes(encode_record(counting_key(), sample_outputs(), 1));
  const std::size_t table_at = 64 + load_payload(whole);
  const auto corrupt_with = [&](const std::vector<std::uint8_t>& table) {
    std::vector<std::byte> block(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(table_at));
    for (const std::uint8_t byte : table) block.push_back(std::byte{byte});
    block.resize(block.size() + 4);
    patch(block, block.size() - 4, static_cast<std::uint32_t>(table.size()));
    return is_corrupt(record_of(block), ChecksumPolicy::trust);
  };
  REQUIRE(load_payload(whole) == 138);
  REQUIRE_FALSE(corrupt_with(sound));
  // Whatever a byte says instead, the last tensor's end tells it, unless it stays within a gap.
  for (const std::uint8_t type : {0, 2, 5, 8, 9, 10, 11, 255}) {
    std::vector<std::uint8_t> table = sound;
    table[10] = type;
    CHECK(corrupt_with(table));
  }
  for (const std::size_t at : {1U, 5U, 7U, 11U, 12U}) {
    for (int value = 0; value < 256; ++value) {
      std::vector<std::uint8_t> table = sound;
      table[at] = static_cast<std::uint8_t>(value);
      if (table != sound) CHECK(corrupt_with(table));
    }
  }
  // Cut short, longer, and dimensions that are not in their shortest form or overflow.
  for (std::size_t size = 0; size < sound.size(); ++size) CHECK(corrupt_with({sound.begin(), sound.begin() + size}));
  const auto with_tail = [&](std::vector<std::uint8_t> tail) {
    tail.insert(tail.begin(), sound.begin(), sound.begin() + 10);
    return corrupt_with(tail);
  };
  CHECK_FALSE(with_tail({4, 1, 5}));
  CHECK(with_tail({4, 1, 5, 9}));
  CHECK(with_tail({4, 1, 0x85, 0}));
  CHECK(with_tail({4, 0x81, 0, 5}));
  CHECK(with_tail({4, 1, 0x85, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1}));
  CHECK(with_tail({4, 1, 0x85, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2}));
  CHECK(with_tail({4, 1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1}));
  CHECK(with_tail({4, 2, 5, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F}));
  CHECK(with_tail({4, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 5}));
}

TEST_CASE("record codec: random bytes behind a valid header never reach outside the block") {
  std::mt19937_64 random(99);
  const std::vector<std::byte> whole = copy_bytes(encode_record(counting_key(), sample_outputs(), 1));
  std::size_t outside = 0;
  std::size_t decoded_some = 0;
  for (int round = 0; round < 200000; ++round) {
    std::vector<std::byte> block(whole.begin(), whole.begin() + 64);
    const std::size_t table = random() % 12;
    const std::size_t payload = random() % 4 == 0 ? random() % 200 : random() % 3 * 8;
    block.resize(64 + payload + table + 4);
    for (std::size_t i = 64; i < block.size() - 4; ++i) {
      block[i] = static_cast<std::byte>(random() % 16 == 0 ? random() : random() % 4);
    }
    patch(block, block.size() - 4, static_cast<std::uint32_t>(table));
    patch(block, 4, static_cast<std::uint32_t>(payload));
    const CacheRecord record = record_of(block);
    auto decoded = decode_record(counting_key(), record, ChecksumPolicy::trust);
    if (!decoded) {
      CHECK(decoded.error().code() == ErrorCode::corrupt_data);
      continue;
    }
    ++decoded_some;
    for (const Tensor& tensor : *decoded) {
      if (!lies_inside(tensor, record)) ++outside;
    }
  }
  CHECK(outside == 0);
  CHECK(decoded_some > 100);
}

TEST_CASE("record codec: a body and what the header told make the same record again") {
  const CacheRecord record = encode_record(counting_key(), sample_outputs(), 1234, std::chrono::milliseconds(7));
  const auto facts = record_facts(counting_key(), record.bytes());
  REQUIRE(facts);
  CHECK(facts->expires_unix_ms == 1234);
  CHECK(facts->recompute_cost == std::chrono::milliseconds(7));
  const CacheRecord again = join_record(counting_key(), *facts, record.bytes().subspan(kRecordHeaderBytes));
  CHECK(std::ranges::equal(again.bytes(), record.bytes()));
  const auto outputs = decode_body(record.bytes().subspan(kRecordHeaderBytes), record.block());
  REQUIRE(outputs);
  check_equal(*outputs, sample_outputs());
  CHECK_FALSE(record_facts(CacheKey{}, record.bytes()));
  CHECK_FALSE(decode_body(record.bytes().first(3), record.block()));
  // A cost beyond the field's 71 minutes is written as those.
  const CacheRecord slow = encode_record(counting_key(), {}, 0, std::chrono::hours(2));
  CHECK(record_facts(counting_key(), slow.bytes())->recompute_cost == std::chrono::microseconds(0xFFFFFFFFLL));
}

TEST_CASE("record codec: a vector of 384 floats takes 72 bytes beside its numbers") {
  const std::vector<float> values(384, 1.0F);
  const std::vector<Tensor> outputs{Tensor::vector_of(values)};
  CHECK(encode_record(counting_key(), outputs, 0).bytes().size() == 64 + 1536 + 8);
}
