// What a request costs of the heap once the engine is warm: nothing, on any thread, from `infer`
// to the end of its completion. What the model makes its answers of is the model's.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "tidegate/engine.hpp"

namespace {

std::atomic<std::size_t> allocations{0};     // of all threads
thread_local bool is_models_memory = false;  // this thread is inside the model

void* allocate(std::size_t size, std::size_t alignment) {
  if (!is_models_memory) allocations.fetch_add(1, std::memory_order_relaxed);
  const std::size_t whole = (size + alignment - 1) / alignment * alignment;
  if (void* const block = std::aligned_alloc(alignment, whole == 0 ? alignment : whole)) return block;
  throw std::bad_alloc();
}

}  // namespace

// Not inlined: where only one of a pair is, the compiler takes them for a mismatch.
[[gnu::noinline]] void* operator new(std::size_t size) { return allocate(size, alignof(std::max_align_t)); }
[[gnu::noinline]] void* operator new[](std::size_t size) { return allocate(size, alignof(std::max_align_t)); }
[[gnu::noinline]] void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
[[gnu::noinline]] void* operator new[](std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
[[gnu::noinline]] void operator delete(void* block) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete[](void* block) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete(void* block, std::size_t) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete[](void* block, std::size_t) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete(void* block, std::align_val_t) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete[](void* block, std::align_val_t) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete(void* block, std::size_t, std::align_val_t) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete[](void* block, std::size_t, std::align_val_t) noexcept { std::free(block); }

using namespace tidegate;

namespace {

/// Answers the first letter of the text. Its memory is not counted.
class LetterRunner final : public ModelRunner {
 public:
  explicit LetterRunner(std::atomic<bool>* gate) : gate_(gate) { info_.fingerprint[0] = 1; }
  const ModelInfo& info() const noexcept override { return info_; }
  Result<PreparedInput> prepare(Input input) override { return PreparedInput{std::move(input), {}, {1, 8, 0}}; }
  void run(std::span<BatchItem> batch) override {
    is_models_memory = true;
    if (gate_ != nullptr) gate_->wait(false);
    for (BatchItem& item : batch) {
      const float letter[] = {static_cast<float>(std::get<std::string>(item.input->input)[0])};
      item.output = std::vector<Tensor>{Tensor::vector_of(letter)};
    }
    is_models_memory = false;
  }

 private:
  ModelInfo info_;
  std::atomic<bool>* gate_;
};

struct Warm {
  Engine engine = *Engine::create({.cache = {.memory = {.capacity_bytes = 0}}});
  explicit Warm(const ModelOptions& options = {}, std::atomic<bool>* gate = nullptr) {
    std::vector<Replica> set;
    set.push_back({std::make_unique<LetterRunner>(gate), {}});
    REQUIRE(engine.add_model("m", std::move(set), options));
  }
};

/// Short enough to need no heap of its own.
Request request(char letter, CacheMode mode, Deadline deadline = kNoDeadline) {
  return {"", std::string(3, letter), {.deadline = deadline, .cache = mode}};
}

/// Of 300 calls of `round`, after as many that let grow what must grow. How many requests are under way at once is the
/// scheduler's affair: a new peak makes something grow once more, so a few attempts are made to go without one.
template <class Round>
std::size_t allocations_once_warm(Round&& round) {
  for (int i = 0; i < 300; ++i) round();
  std::size_t fewest = std::numeric_limits<std::size_t>::max();
  for (int attempt = 0; attempt < 5 && fewest > 0; ++attempt) {
    const std::size_t before = allocations;
    for (int i = 0; i < 300; ++i) round();
    fewest = std::min<std::size_t>(fewest, allocations - before);
  }
  return fewest;
}

/// Hands in `count` requests and waits for their ends.
void burst(Engine& engine, int count, CacheMode mode, Duration patience) {
  std::atomic<int> left{count};
  std::atomic<int> right{0};
  const TimePoint now = std::chrono::steady_clock::now();
  for (int i = 0; i < count; ++i) {
    const char letter = static_cast<char>('a' + i % 26);
    const Deadline deadline = patience == Duration::zero() ? kNoDeadline : now + patience;
    const auto accepted =
        engine.infer(request(letter, mode, deadline), [&left, &right, letter](Result<Response> answer) {
          if (answer && answer->outputs.at(0).as<float>()[0] == static_cast<float>(letter)) ++right;
          if (--left == 0) left.notify_one();
        });
    if (!accepted) --left;
  }
  for (int now_left = left; now_left > 0; now_left = left) left.wait(now_left);
  if (right != count) throw std::runtime_error("an answer is missing");
}

}  // namespace

TEST_CASE("engine allocation: the counter counts, on every thread but the model's") {
  const std::size_t before = allocations;
  std::thread([] { delete new int(3); }).join();
  CHECK(allocations - before >= 1);
}

TEST_CASE("engine allocation: a caller that waits costs no heap") {
  Warm warm;
  std::size_t wrong = 0;
  const auto round = [&] {
    for (char letter = 'a'; letter <= 'z'; ++letter) {
      const auto answer = warm.engine.infer_and_wait(request(letter, CacheMode::bypass));
      wrong += answer && answer->outputs.at(0).as<float>()[0] == static_cast<float>(letter) ? 0 : 1;
    }
  };
  CHECK(allocations_once_warm(round) == 0);
  CHECK(wrong == 0);
}

TEST_CASE("engine allocation: requests through worker and completion thread cost no heap") {
  Warm warm({.batching = {.max_batch_size = 8}});
  burst(warm.engine, 1000, CacheMode::bypass, {});  // more at a time than will be counted
  CHECK(allocations_once_warm([&] { burst(warm.engine, 100, CacheMode::bypass, {}); }) == 0);
}

TEST_CASE("engine allocation: keys and deadlines that hold cost no heap either") {
  Warm warm({.batching = {.max_batch_size = 8}});
  burst(warm.engine, 1000, CacheMode::refresh, std::chrono::seconds(20));
  CHECK(allocations_once_warm([&] { burst(warm.engine, 26, CacheMode::refresh, std::chrono::seconds(20)); }) == 0);
}

TEST_CASE("engine allocation: alarms that are moved and that ring cost no heap") {
  const auto clock = make_steady_clock();
  std::atomic<int> rung{0};
  const auto round = [&] {
    const TimePoint now = clock->now();
    const AlarmId later = clock->call_at(now + std::chrono::hours(1), [] {});
    const int before = rung;
    clock->call_at(now, [&rung] {
      ++rung;
      rung.notify_one();
    });
    rung.wait(before);
    clock->cancel(later);
  };
  CHECK(allocations_once_warm(round) == 0);
}

TEST_CASE("engine allocation: callers that wait at the same time cost no heap") {
  Warm warm({.batching = {.max_batch_size = 4}});
  burst(warm.engine, 1000, CacheMode::bypass, {});  // full batches, should the callers never meet in the first round
  std::atomic<int> wrong{0};
  std::atomic<int> phase{0};
  std::atomic<int> finished{0};
  std::vector<std::thread> callers;
  for (int t = 0; t < 4; ++t) {
    callers.emplace_back([&, t] {
      for (int round = 0; round < 2; ++round) {
        phase.wait(round);
        for (int i = 0; i < 2000; ++i) {
          const char letter = static_cast<char>('a' + (i + 7 * t) % 26);
          const auto answer = warm.engine.infer_and_wait(request(letter, CacheMode::bypass));
          wrong += answer && answer->outputs.at(0).as<float>()[0] == static_cast<float>(letter) ? 0 : 1;
        }
        ++finished;
        finished.notify_one();
      }
    });
  }
  std::size_t before = 0;
  for (int round = 1; round <= 2; ++round) {
    before = allocations;
    phase = round;
    phase.notify_all();
    for (int done = finished; done < 4 * round; done = finished) finished.wait(done);
  }
  CHECK(allocations - before == 0);
  for (std::thread& caller : callers) caller.join();
  CHECK(wrong == 0);
}

TEST_CASE("engine allocation: a refusal costs no heap") {
  std::atomic<bool> open{false};
  ModelOptions options;
  options.admission.max_queued_items = 1;
  options.batching.max_batch_size = 1;
  Warm warm(options, &open);
  std::atomic<int> calls{0};
  const auto send = [&] {
    return warm.engine.infer(request('a', CacheMode::bypass), [&calls](auto) {
      ++calls;
      calls.notify_one();
    });
  };
  while (send()) continue;  // the model is busy and the queue is full
  const std::size_t before = allocations;
  for (int i = 0; i < 100; ++i) {
    const auto refused = send();
    if (refused || refused.error().code() != ErrorCode::queue_full) FAIL("it was not refused");
  }
  CHECK(allocations - before == 0);
  open = true;
  open.notify_all();
  for (int now = calls; now < 2; now = calls) calls.wait(now);
  CHECK(calls == 2);
}
