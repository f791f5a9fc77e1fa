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
  // Written out by hand (and by a Python script) from the layout in record_codec.cpp.
  static constexpr char kGolden[] =
      "544752310100000048000000000000007b68e5cf8b0100000100000037b0f6ae000102030405060708090a0b0c0d0e0f"
      "101112131415161718191a1b1c1d1e1f010000000100000008000000000000000200000000000000"
      "00000000000000000000000000000000000000000000000000000000000000000000000000000000"
      "0000803f000000c0";
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
    patch(longer, 8, static_cast<std::uint64_t>(longer.size() - 64));
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
  patch(block, 0, 0x32524754U);
  CHECK(message(block).find("magic") != std::string::npos);
  block = whole;
  patch(block, 4, std::uint16_t{2});
  CHECK(message(block).find("version") != std::string::npos);
  block = whole;
  patch(block, 6, std::uint16_t{1});
  CHECK(message(block).find("version") != std::string::npos);
  block = whole;
  patch(block, 8, std::numeric_limits<std::uint64_t>::max());
  CHECK(message(block).find("length") != std::string::npos);
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

TEST_CASE("record codec: absurd counts, ranks, lengths, shapes and types are corrupt without the checksum") {
  // First tensor: type at 64, rank at 68, bytes at 72, dimensions at 80 and 88.
  const std::vector<std::byte> whole = copy_bytes(encode_record(counting_key(), sample_outputs(), 1));
  const auto corrupt_with = [&whole](std::size_t at, auto value) {
    std::vector<std::byte> block = whole;
    patch(block, at, value);
    return is_corrupt(record_of(block), ChecksumPolicy::trust);
  };
  for (const std::uint32_t value : {0U, 3U, 5U, 6U, 1000U, 0x7FFFFFFFU, 0xFFFFFFFFU}) CHECK(corrupt_with(24, value));
  for (const std::int32_t value : {0, -1, 11, 2, 5, std::numeric_limits<std::int32_t>::max()}) {
    CHECK(corrupt_with(64, value));
  }
  for (const std::uint32_t value : {0U, 1U, 3U, 100U, 0x20000000U, 0xFFFFFFFFU}) CHECK(corrupt_with(68, value));
  for (const std::uint64_t value : std::vector<std::uint64_t>{0, 1, 23, 25, 1U << 20, ~std::uint64_t{0}}) {
    CHECK(corrupt_with(72, value));
  }
  for (const std::int64_t value :
       std::vector<std::int64_t>{-1, 0, 1, 3, std::int64_t{1} << 62, std::numeric_limits<std::int64_t>::min()}) {
    CHECK(corrupt_with(80, value));
    if (value != 3) CHECK(corrupt_with(88, value));
  }
}

TEST_CASE("record codec: random bytes behind a valid header never reach outside the block") {
  std::mt19937_64 random(99);
  const std::vector<std::byte> whole = copy_bytes(encode_record(counting_key(), sample_outputs(), 1));
  std::size_t outside = 0;
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::byte> block(whole.begin(), whole.begin() + 64);
    block.resize(64 + random() % 200);
    for (std::size_t i = 64; i < block.size(); ++i) {
      block[i] = static_cast<std::byte>(random() % 3 == 0 ? random() % 12 : 0);
    }
    patch(block, 8, static_cast<std::uint64_t>(block.size() - 64));
    patch(block, 24, static_cast<std::uint32_t>(random() % 4));
    const CacheRecord record = record_of(block);
    auto decoded = decode_record(counting_key(), record, ChecksumPolicy::trust);
    if (!decoded) {
      CHECK(decoded.error().code() == ErrorCode::corrupt_data);
      continue;
    }
    for (const Tensor& tensor : *decoded) {
      if (!lies_inside(tensor, record)) ++outside;
    }
  }
  CHECK(outside == 0);
}
