// Work: one computation on its way through the engine. WorkPool: works used again and again.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/poison.hpp"
#include "base/prefetch.hpp"
#include "engine/similar_stage.hpp"
#include "engine/split_request.hpp"
#include "engine/stream_buffer.hpp"
#include "request/cache_stamps.hpp"
#include "tidegate/runner.hpp"

namespace tidegate {

/// Filled by `submit` and, while its batch runs, by `compute`. The scheduler holds it until it
/// retires it, and every request that ends with its answer until that has been read.
struct alignas(64) Work {
  // What a submission writes lies together.
  std::uint64_t awaited_by = 0;  ///< handle of the request it was made for, if its caller waits; else 0
  PreparedInput input;
  std::optional<CacheKey> key;
  CacheStamps stamps{};                      ///< that the key was made with
  std::shared_ptr<SimilarQuestion> similar;  ///< set: the answer is the semantic tier's too
  TimePoint formed{};
  Result<std::vector<Tensor>> output = Error(ErrorCode::internal, "the batch has not run");
  Duration dispatch{0};  ///< formed to started
  Duration run{0};
  std::uint32_t batch_size = 0;
  std::int32_t replica = -1;
  std::uint32_t parts_count = 1;            ///< it ran in so many parts
  Work* whole = nullptr;                    ///< of a part; the scheduler retires it after its parts
  std::unique_ptr<PartsOfWork> in_parts{};  ///< of a whole, which does not run itself and has no input
  bool poisonous = false;                   ///< the model failed on it alone and not on its neighbours
  Work* next = nullptr;                     ///< among those let go together

  // Iterative models.
  std::uint32_t steps = 0;                 ///< taken
  StepEnd step = StepEnd::done;            ///< of the last one
  ItemSize next_size{};                    ///< where it proceeds
  std::shared_ptr<void> state;             ///< the runner's, between two steps
  std::shared_ptr<Stream::Buffer> stream;  ///< takes the chunks; null: they are parts of the answer
  std::vector<Tensor> so_far;              ///< those parts

  void hold() noexcept { holders_.fetch_add(1, std::memory_order_relaxed); }
  /// True for the last: the work is his to clear and to give back.
  [[nodiscard]] bool let_go() noexcept { return holders_.fetch_sub(1, std::memory_order_acq_rel) == 1; }
  /// Nobody else will read it, so the holder may take it apart.
  [[nodiscard]] bool is_held_once() const noexcept { return holders_.load(std::memory_order_acquire) == 1; }

  /// Lets go of everything of the host's; not to be called under a lock.
  void clear() noexcept {
    input = PreparedInput{};
    key.reset();
    similar.reset();
    output = Error(ErrorCode::internal, "the batch has not run");
    formed = {};
    dispatch = run = Duration::zero();
    batch_size = 0;
    replica = -1;
    parts_count = 1;
    whole = nullptr;
    in_parts.reset();
    poisonous = false;
    awaited_by = 0;
    steps = 0;
    step = StepEnd::done;
    state.reset();
    stream.reset();
    if (so_far.capacity() > 0) std::vector<Tensor>().swap(so_far);
  }

 private:
  std::atomic<std::uint32_t> holders_{0};
};

/// Memory grows to the highest number of works alive at once, which the caps of the queue and
/// of the requests in flight bound, and is kept. Thread-compatible.
class WorkPool {
 public:
  WorkPool() = default;
  WorkPool(const WorkPool&) = delete;
  WorkPool& operator=(const WorkPool&) = delete;
  ~WorkPool() { unpoison_all(); }

  /// A cleared work that the caller holds. May throw std::bad_alloc.
  [[nodiscard]] Work& acquire() {
    if (free_.empty()) grow();
    Work& work = *free_.back();
    free_.pop_back();
    if (!free_.empty()) prefetch(*free_.back());
    unpoison(&work, sizeof(Work));
    work.hold();
    return work;
  }

  /// `work` has been let go by all and cleared.
  void release(Work& work) noexcept {
    poison(&work, sizeof(Work));
    free_.push_back(&work);  // within the capacity reserved by grow()
  }

  /// One that was acquired and not used.
  void take_back(Work& work) noexcept {
    static_cast<void>(work.let_go());
    release(work);
  }

 private:
  static constexpr std::size_t kChunk = 32;

  void grow() {
    free_.reserve((chunks_.size() + 1) * kChunk);
    chunks_.push_back(std::make_unique<Work[]>(kChunk));
    for (std::size_t i = kChunk; i-- > 0;) release(chunks_.back()[i]);
  }
  void unpoison_all() noexcept {
    for (const auto& chunk : chunks_) unpoison(chunk.get(), kChunk * sizeof(Work));
  }

  std::vector<std::unique_ptr<Work[]>> chunks_;
  std::vector<Work*> free_;  ///< last in, first out: the warmest is used first
};

}  // namespace tidegate
