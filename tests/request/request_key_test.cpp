#include "request/request_key.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <random>
#include <set>
#include <thread>

#include "base/sha256.hpp"

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define TIDEGATE_TEST_COUNTS_MALLOC 1
namespace {
thread_local std::uint64_t allocations = 0;
}
// Counts every allocation of the calling thread, those inside libcrypto too.
extern "C" {
void* __libc_malloc(std::size_t size);
void* malloc(std::size_t size) {
  ++allocations;
  return __libc_malloc(size);
}
}
#endif

using namespace tidegate;

namespace {

Digest counting_fingerprint() {
  Digest fingerprint;
  for (std::size_t i = 0; i < fingerprint.size(); ++i) fingerprint[i] = static_cast<std::uint8_t>(i);
  return fingerprint;
}

std::string key_hex(const Input& input) { return to_hex(make_request_key(counting_fingerprint(), input)); }

Tensor tensor_of(DataType type, Shape shape, std::string_view bytes) {
  auto tensor = Tensor::copy_of(type, std::move(shape), std::as_bytes(std::span(bytes)));
  REQUIRE(tensor);
  return *tensor;
}

Tensor ids_of(std::vector<std::int64_t> ids, Shape shape) {
  auto tensor = Tensor::copy_of(DataType::i64, std::move(shape), std::as_bytes(std::span(ids)));
  REQUIRE(tensor);
  return *tensor;
}

}  // namespace

// The expected digests come from Python's hashlib over the encoding in request_key.hpp.
TEST_CASE("request key: golden vectors of texts") {
  CHECK(key_hex(std::string()) == "28ebce932c9e836df5e6b3ee67b81eb2ef7524834c511711c1dc4d19ecca89b8");
  CHECK(key_hex(std::string("hello")) == "26910072c1ceaa2af18dc1ab0e72b82cb3567fe78c95d45f45bba1387cb4f751");
  CHECK(key_hex(std::string("hello\0world", 11)) == "aa256be371ecc31d4ff031ec64b2ac5490bcd9c3ed34d2a8891b0c257a3fc584");
  CHECK(key_hex(std::string(1000, 'x')) == "e5594a655409457733335e9bdfe6dc8d9ada559d58f3ceb1c8e7103276d63629");
}

TEST_CASE("request key: golden vectors of tensors") {
  CHECK(key_hex(std::vector<Tensor>()) == "d0dec9fa03338e8310b17537facd44d577fe430526e2f7a6bff2645db163f876");
  const float scalar = 1.5F;
  auto one = Tensor::copy_of(DataType::f32, {}, std::as_bytes(std::span(&scalar, 1)));
  REQUIRE(one);
  CHECK(key_hex(std::vector<Tensor>{ids_of({101, 7592, 102}, {1, 3}), *one}) ==
        "503853678ae7eb17ff28f2fd2fac8433b05af84857d66f7b5b70458b5b928f88");
}

TEST_CASE("request key: every difference between two requests is a difference between their keys") {
  const std::string zeros(16, '\0');
  const Tensor a = ids_of({1, 2}, {2});
  const Tensor b = ids_of({3, 4}, {2});
  const std::vector<Input> inputs{
      std::string(),
      std::string(1, '\0'),
      std::string(2, '\0'),
      std::string("a"),
      std::string("a\0", 2),
      std::string("a\0b", 3),
      std::string("a\0c", 3),
      std::string("A"),
      std::string(" a"),
      std::string("a "),
      std::vector<Tensor>{},
      std::vector<Tensor>{tensor_of(DataType::u8, {0}, "")},
      std::vector<Tensor>{tensor_of(DataType::u8, {0, 1}, "")},
      std::vector<Tensor>{tensor_of(DataType::u8, {1, 0}, "")},
      std::vector<Tensor>{tensor_of(DataType::u8, {1}, "a")},
      std::vector<Tensor>{tensor_of(DataType::u8, {}, "a")},
      std::vector<Tensor>{tensor_of(DataType::u8, {1, 1}, "a")},
      std::vector<Tensor>{tensor_of(DataType::i8, {1}, "a")},
      std::vector<Tensor>{tensor_of(DataType::boolean, {1}, "a")},
      std::vector<Tensor>{tensor_of(DataType::u8, {16}, zeros)},
      std::vector<Tensor>{tensor_of(DataType::f64, {2}, zeros)},
      std::vector<Tensor>{tensor_of(DataType::i64, {2}, zeros)},
      std::vector<Tensor>{tensor_of(DataType::f32, {4}, zeros)},
      std::vector<Tensor>{tensor_of(DataType::f32, {2, 2}, zeros)},
      std::vector<Tensor>{tensor_of(DataType::f32, {4, 1}, zeros)},
      std::vector<Tensor>{tensor_of(DataType::f32, {1, 4}, zeros)},
      std::vector<Tensor>{tensor_of(DataType::f16, {8}, zeros)},
      std::vector<Tensor>{tensor_of(DataType::bf16, {8}, zeros)},
      std::vector<Tensor>{a},
      std::vector<Tensor>{b},
      std::vector<Tensor>{a, b},
      std::vector<Tensor>{b, a},
      std::vector<Tensor>{a, a},
      std::vector<Tensor>{a, b, b},
      std::vector<Tensor>{ids_of({1, 2, 3, 4}, {4})},
      std::vector<Tensor>{ids_of({1, 2, 3, 4}, {2, 2})},
  };
  std::set<CacheKey> keys;
  for (const Input& input : inputs) keys.insert(make_request_key(counting_fingerprint(), input));
  CHECK(keys.size() == inputs.size());

  for (std::size_t byte = 0; byte < 32; ++byte) {
    Digest fingerprint = counting_fingerprint();
    fingerprint[byte] ^= 1;
    keys.insert(make_request_key(fingerprint, std::string("a")));
  }
  CHECK(keys.size() == inputs.size() + 32);
}

TEST_CASE("request key: each byte of a text of any length counts, around the writer's buffer too") {
  std::mt19937_64 random(7);
  for (const std::size_t size : {1U, 63U, 64U, 300U, 397U, 398U, 399U, 511U, 512U, 513U, 5000U}) {
    std::string text(size, ' ');
    for (char& c : text) c = static_cast<char>(random());
    const CacheKey original = make_request_key(counting_fingerprint(), text);
    CHECK(make_request_key(counting_fingerprint(), text) == original);
    std::set<CacheKey> keys{original};
    const std::size_t step = size > 600 ? 37 : 1;
    std::size_t changed = 0;
    for (std::size_t i = 0; i < size; i += step, ++changed) {
      std::string other = text;
      other[i] = static_cast<char>(other[i] ^ 0x20);
      keys.insert(make_request_key(counting_fingerprint(), other));
    }
    CHECK(keys.size() == changed + 1);
  }
}

TEST_CASE("request key: all threads derive the same keys at once") {
  std::vector<CacheKey> expected;
  for (int i = 0; i < 200; ++i) {
    expected.push_back(make_request_key(counting_fingerprint(), std::string(static_cast<std::size_t>(i), 'q')));
  }
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&expected, &wrong] {
      for (std::size_t i = 0; i < expected.size(); ++i) {
        if (make_request_key(counting_fingerprint(), std::string(i, 'q')) != expected[i]) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}

#ifdef TIDEGATE_TEST_COUNTS_MALLOC
TEST_CASE("request key: allocates nothing") {
  const Input text = std::string(3000, 't');
  const Input tensors = std::vector<Tensor>{ids_of({1, 2, 3}, {3}), ids_of({4, 5, 6}, {1, 3})};
  CacheKey key = make_request_key(counting_fingerprint(), text);
  const std::uint64_t before = allocations;
  for (int i = 0; i < 100; ++i) {
    key = make_request_key(key, text);
    key = make_request_key(key, tensors);
  }
  const std::uint64_t derived = allocations;
  void* volatile block = std::malloc(64);
  const std::uint64_t counted = allocations;
  std::free(block);
  CHECK(derived == before);
  CHECK(counted == before + 1);  // the counter works
}
#endif
