// An encoder that runs out of memory answers so; it neither throws nor ends the process.
#include <atomic>
#include <cstdlib>
#include <limits>
#include <new>

#include "encoder/encoder_fixture.hpp"
#include "support/random_model.hpp"

namespace {

constexpr std::int64_t kPlenty = std::numeric_limits<std::int64_t>::max();
std::atomic<std::int64_t> allocations_left{kPlenty};

}  // namespace

// Not inlined: the compiler would warn of free() on what it sees come from operator new.
[[gnu::noinline]] void* operator new(std::size_t size) {
  if (allocations_left.load() != kPlenty && allocations_left.fetch_sub(1) <= 0) throw std::bad_alloc();
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace tidegate::test {
namespace {

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

TEST_CASE("encoder memory: whichever allocation of a run fails, every text gets its embedding or out_of_memory") {
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

TEST_CASE("encoder memory: an error that cannot be copied becomes out_of_memory") {
  const Error error(ErrorCode::backend_failed, std::string(200, 'x'));
  allocations_left = 0;
  const Error without = copy_of(error);
  allocations_left = kPlenty;
  CHECK(without.code() == ErrorCode::out_of_memory);
  CHECK(copy_of(error).text() == error.text());
}

}  // namespace tidegate::test
