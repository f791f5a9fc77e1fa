// What costs no heap: a run of a batch no larger than one before. And what becomes of a
// run whose allocations fail.
#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <limits>
#include <new>

#include "encoder/encoder_fixture.hpp"
#include "runner/encoder/model_packer.hpp"
#include "runner/encoder/sequence_encoder.hpp"
#include "support/random_model.hpp"

namespace {

std::atomic<std::size_t> allocations{0};  // of this program, on all threads
constexpr std::int64_t kPlenty = std::numeric_limits<std::int64_t>::max();
std::atomic<std::int64_t> allocations_left{kPlenty};

void* allocate(std::size_t size, std::size_t alignment) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (allocations_left.load() != kPlenty && allocations_left.fetch_sub(1) <= 0) throw std::bad_alloc();
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

/// Runs all inputs as one batch that may allocate `allowed` times.
std::vector<BatchItem> run_within(ModelRunner& runner, const std::vector<PreparedInput>& inputs, std::int64_t allowed) {
  std::vector<BatchItem> batch(inputs.size());
  for (std::size_t i = 0; i < inputs.size(); ++i) batch[i].input = &inputs[i];
  allocations_left = allowed;
  runner.run(batch);
  allocations_left = kPlenty;
  return batch;
}

bool same_embeddings(const std::vector<BatchItem>& a, const std::vector<BatchItem>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!a[i].output || !b[i].output) return false;
    const auto first = a[i].output->front().as<float>();
    const auto second = b[i].output->front().as<float>();
    if (!same_bits({first.begin(), first.end()}, {second.begin(), second.end()})) return false;
  }
  return true;
}

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

TEST_CASE("encoder allocation: whichever allocation of a run fails, every text gets its embedding or out_of_memory") {
  const TemporaryFolder folder = write_random_model();
  for (const ProductChoice products : {ProductChoice::kernels, ProductChoice::onednn}) {
    for (const std::size_t texts : {std::size_t{1}, std::size_t{9}}) {
      CAPTURE(texts);
      const auto runner = load(folder.path(), {.threads = 2, .products = products});
      const std::vector<PreparedInput> inputs = prepare_all(*runner, random_texts(texts, 20));
      const std::vector<BatchItem> expected = run_within(*runner, inputs, kPlenty);
      std::size_t failed = 0;
      std::size_t other = 0;
      bool whole = false;
      for (std::int64_t allowed = 0; !whole && allowed < 100000; ++allowed) {
        whole = true;
        for (const BatchItem& item : run_within(*runner, inputs, allowed)) {
          if (item.output) continue;
          whole = false;
          ++failed;
          if (item.output.error().code() != ErrorCode::out_of_memory) ++other;
        }
      }
      CHECK(whole);
      CHECK(failed > 0);
      CHECK(other == 0);
      CHECK(same_embeddings(run_within(*runner, inputs, kPlenty), expected));
    }
  }
}

TEST_CASE("encoder allocation: an error that cannot be copied becomes out_of_memory") {
  const Error error(ErrorCode::backend_failed, std::string(200, 'x'));
  allocations_left = 0;
  const Error without = copy_of(error);
  allocations_left = kPlenty;
  CHECK(without.code() == ErrorCode::out_of_memory);
  CHECK(copy_of(error).text() == error.text());
}

}  // namespace tidegate::test
