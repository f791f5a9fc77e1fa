#include "open_loop.hpp"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <random>
#include <thread>

namespace tidegate::load {
namespace {

using SteadyClock = std::chrono::steady_clock;

double ms_since(SteadyClock::time_point start) {
  return std::chrono::duration<double, std::milli>(SteadyClock::now() - start).count();
}

Request request(const std::string& model, const std::string& text, CacheMode cache = CacheMode::bypass) {
  return {model, text, {.cache = cache}};
}

/// What the answers' thread and the sender share.
class Tally {
 public:
  void sent() {
    const std::scoped_lock lock(mutex_);
    ++open_;
  }

  /// Of a request that was due at `due`.
  void ended(const Result<Response>& result, SteadyClock::time_point due) {
    const double latency = ms_since(due);
    const std::scoped_lock lock(mutex_);
    last_ = SteadyClock::now();
    if (result) {
      slice_.latencies_ms.push_back(latency);
      batches_ += result->timing.batch_size;
      if (result->source != AnswerSource::cache) ++slice_.computed;
    } else if (result.error().code() == ErrorCode::overloaded || result.error().code() == ErrorCode::queue_full) {
      ++slice_.refused;
    } else if (!failure_) {
      failure_ = result.error();
    }
    --open_;
    changed_.notify_all();
  }

  /// Waits until at most `open` requests are in flight.
  void wait(std::size_t open) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return open_ <= open; });
  }

  Result<Slice> finish(SteadyClock::time_point first) {
    wait(0);
    const std::scoped_lock lock(mutex_);
    if (failure_) return *std::move(failure_);
    const auto answers = static_cast<double>(slice_.latencies_ms.size());
    if (answers == 0) return Error(ErrorCode::internal, "a slice without an answer: give it more time");
    slice_.texts_per_second = answers / std::chrono::duration<double>(last_ - first).count();
    slice_.mean_batch = batches_ / answers;
    return std::move(slice_);
  }

 private:
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::size_t open_ = 0;
  Slice slice_;
  double batches_ = 0;
  SteadyClock::time_point last_;
  std::optional<Error> failure_;
};

void send(Engine& engine, Request one, Tally& tally, SteadyClock::time_point due) {
  tally.sent();
  const auto accepted =
      engine.infer(std::move(one), [&tally, due](Result<Response> result) { tally.ended(result, due); });
  if (!accepted) tally.ended(accepted.error(), due);
}

}  // namespace

Result<Slice> open_loop(Engine& engine, const std::string& model, const std::vector<std::string>& texts, double rate,
                        Duration length, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::exponential_distribution<double> gap(rate);
  Tally tally;
  const auto start = SteadyClock::now();
  double seconds = gap(random);
  for (std::size_t i = seed; seconds < std::chrono::duration<double>(length).count(); ++i, seconds += gap(random)) {
    const auto due = start + std::chrono::duration_cast<SteadyClock::duration>(std::chrono::duration<double>(seconds));
    std::this_thread::sleep_until(due);
    send(engine, request(model, texts[i % texts.size()]), tally, due);
  }
  return tally.finish(start);
}

Result<double> closed_loop(Engine& engine, const std::string& model, const std::vector<std::string>& texts,
                           std::size_t window, Duration length) {
  Tally tally;
  const auto start = SteadyClock::now();
  for (std::size_t i = 0; SteadyClock::now() - start < length; ++i) {
    tally.wait(window - 1);
    send(engine, request(model, texts[i % texts.size()]), tally, SteadyClock::now());
  }
  const auto slice = tally.finish(start);
  if (!slice) return slice.error();
  return slice->texts_per_second;
}

Result<Slice> closed_loop(Engine& engine, const std::string& model, const std::vector<std::string>& texts,
                          std::span<const std::uint32_t> order, std::size_t window, CacheMode cache, Duration length) {
  Tally tally;
  const auto start = SteadyClock::now();
  for (std::size_t i = 0; i < order.size() && SteadyClock::now() - start < length; ++i) {
    tally.wait(window - 1);
    send(engine, request(model, texts[order[i]], cache), tally, SteadyClock::now());
  }
  return tally.finish(start);
}

}  // namespace tidegate::load
