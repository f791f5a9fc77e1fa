// What costs no heap: a run of a batch no larger than one before.
#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "encoder/encoder_fixture.hpp"
#include "runner/encoder/model_packer.hpp"
#include "runner/encoder/sequence_encoder.hpp"
#include "support/random_model.hpp"

namespace {

std::atomic<std::size_t> allocations{0};  // of this program, on all threads

void* allocate(std::size_t size, std::size_t alignment) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  const std::size_t rounded = (size + alignment - 1) / alignment * alignment;
  if (void* memory = std::aligned_alloc(alignment, rounded == 0 ? alignment : rounded)) return memory;
  throw std::bad_alloc();
}

}  // namespace

// Not inlined: the compiler would pair one's malloc with the other's delete.
[[gnu::noinline]] void* operator new(std::size_t size) { return allocate(size, alignof(std::max_align_t)); }
[[gnu::noinline]] void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace tidegate::test {
namespace {

class CountingSink final : public EmbeddingSink {
 public:
  void take(std::size_t, std::span<const float>) noexcept override { taken.fetch_add(1, std::memory_order_relaxed); }
  void fail(std::size_t, const Error&) noexcept override {}
  std::atomic<std::size_t> taken{0};
};

/// A batch of `texts` texts of 1 to `longest` tokens.
struct TokenBatch {
  TokenBatch(std::size_t texts, std::size_t longest) {
    for (std::size_t i = 0; i < texts; ++i) ids.emplace_back(1 + i * 7 % longest, static_cast<std::int32_t>(i % 50));
    for (std::size_t i = 0; i < texts; ++i) sequences.push_back({ids[i], i});
  }
  std::vector<std::vector<std::int32_t>> ids;
  std::vector<Sequence> sequences;
};

}  // namespace

TEST_CASE("encoder allocation: once warm, a batch allocates nothing, at every precision, alone and on two threads") {
  const TemporaryFolder folder = write_random_model();
  const auto model = load_encoder_model(folder.path(), {});
  REQUIRE(model.has_value());
  for (const Number number : {Number::f32, Number::bf16, Number::u8}) {
    for (const std::size_t threads : {1, 2}) {
      INFO("number " << static_cast<int>(number) << ", threads " << threads);
      auto packed = pack_model(*model, uniform_plan(model->layers.size(), number));
      REQUIRE(packed.has_value());
      const auto bytes = std::make_shared<const AlignedArray<std::byte>>(std::move(packed->bytes));
      Team team("test-encode", threads);
      const auto encoder =
          SequenceEncoder::create(*model, {packed->plan, {bytes, bytes->data()}},
                                  kernels_of(best_kernel_set(cpu_features())), ProductChoice::kernels, team);
      REQUIRE(encoder.has_value());
      CountingSink sink;
      TokenBatch single(1, 20);
      TokenBatch many(60, 40);
      for (TokenBatch* batch : {&single, &many}) (*encoder)->run(batch->sequences, 0, sink);
      const std::size_t before = allocations.load();
      for (TokenBatch* batch : {&many, &single}) (*encoder)->run(batch->sequences, 0, sink);
      CHECK(allocations.load() == before);
      CHECK(sink.taken.load() == 122);
    }
  }
}

}  // namespace tidegate::test
