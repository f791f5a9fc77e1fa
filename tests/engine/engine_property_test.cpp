// Random schedules of submit, cancel, deadline, failure and drain against an engine
// whose clock and threads the test plays itself, so each schedule can be replayed
// from its seed.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "engine/engine_rig.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t kSchedules = 10'000;
#else
constexpr std::uint64_t kSchedules = 120'000;
#endif

/// A tier on the side that answers from a map: at once, later, or never.
class MoodyTier final : public CacheTier {
 public:
  explicit MoodyTier(std::mt19937_64& random) : random_(random) {}
  std::string_view name() const noexcept override { return "moody"; }

  void get_many(std::span<const CacheKey> keys, Deadline, Lookup done) override {
    std::vector<std::optional<CacheEntry>> found(keys.size());
    for (std::size_t i = 0; i < keys.size(); ++i) {
      if (auto entry = entries_.find(keys[i]); entry != entries_.end()) found[i] = entry->second;
    }
    const auto mood = moody_ ? random_() % 4 : 1;
    if (mood == 0) return;
    if (mood == 1) return done(std::move(found));
    later_.push_back([found = std::move(found), done = std::move(done)]() mutable { done(std::move(found)); });
  }
  void put_many(std::span<const CacheEntry> entries) override {
    for (const CacheEntry& entry : entries) entries_[entry.key] = entry;
  }
  void erase_many(std::span<const CacheKey> keys) override {
    for (const CacheKey& key : keys) entries_.erase(key);
  }
  /// Until then it answers at once: adding a model waits for what it has to say.
  void become_moody() { moody_ = true; }
  void answer_one() {
    if (later_.empty()) return;
    auto next = std::move(later_.front());
    later_.erase(later_.begin());
    next();
  }

 private:
  std::mt19937_64& random_;
  bool moody_ = false;
  std::map<CacheKey, CacheEntry> entries_;
  std::vector<UniqueFunction<void()>> later_;
};

struct Sent {
  std::string text;
  Deadline deadline = kNoDeadline;
  bool accepted = false;
  int completions = 0;
  std::optional<ErrorCode> error;
  RequestId id{};
};

/// One schedule, from one seed.
class Schedule {
 public:
  explicit Schedule(std::uint64_t seed)
      : seed_(seed),
        random_(seed),
        tier_(std::make_shared<MoodyTier>(random_)),
        rig_(model(), cache(), on_run(), replicas()) {
    tier_->become_moody();
  }

  void play() {
    const int events = 5 + static_cast<int>(random_() % 25);
    for (int i = 0; i < events; ++i) step();
    finish();
    verify();
  }

 private:
  ModelOptions model() {
    max_batch_ = 1 + random_() % 5;
    max_tokens_ = 6 + random_() % 20;
    max_items_ = 1 + random_() % 6;
    return {.batching = {.max_batch_size = static_cast<std::uint32_t>(max_batch_),
                         .max_batch_tokens = max_tokens_,
                         .max_queue_delay = Duration((random_() % 3) * 1000)},
            .admission = {.max_queued_items = static_cast<std::uint32_t>(max_items_)}};
  }
  CacheOptions cache() {
    CacheOptions options;
    if (random_() % 2 == 0) options.memory.capacity_bytes = 0;
    if (random_() % 3 == 0) options.tiers = {tier_};
    options.lookup_budget = Duration(2000);
    return options;
  }
  std::uint32_t replicas() { return 1 + static_cast<std::uint32_t>(random_() % 3); }

  std::function<void(std::span<BatchItem>)> on_run() {
    return [this](std::span<BatchItem> batch) {
      std::uint64_t tokens = 0;
      for (const BatchItem& item : batch) tokens += item.input->size.tokens;
      if (batch.size() > max_batch_ || tokens > max_tokens_) FAIL("seed " << seed_ << ": batch over its caps");
      const auto mood = random_() % 8;
      if (mood == 0) throw std::runtime_error("moody");
      FakeRunner::answer(batch);
      if (mood == 1) batch[0].output = Error(ErrorCode::backend_failed, "moody");
    };
  }

  void step() {
    switch (random_() % 9) {
      case 0:
      case 1:
      case 2: submit(); break;
      case 3: cancel(); break;
      case 4: rig_.clock->advance(Duration(random_() % 3000)); break;
      case 5: rig_.workers->run_at(pick(rig_.workers->size())); break;
      case 6: rig_.completions->run_at(pick(rig_.completions->size())); break;
      case 7: tier_->answer_one(); break;
      default:
        if (random_() % 12 == 0) rig_.engine->drain(Duration::zero());
    }
  }

  std::size_t pick(std::size_t size) { return size == 0 ? 0 : random_() % size; }

  void submit() {
    sent_.push_back(std::make_unique<Sent>());
    Sent& sent = *sent_.back();
    sent.text = std::string(1 + random_() % 8, static_cast<char>('a' + random_() % 3));
    if (random_() % 2 == 0) sent.deadline = rig_.clock->now() + Duration(random_() % 4000);
    const auto mode = static_cast<CacheMode>(random_() % 3);
    auto id = rig_.engine->infer(rig_.request(sent.text, {.deadline = sent.deadline, .cache = mode}),
                                 [this, &sent](Result<Response> result) { completed(sent, std::move(result)); });
    sent.accepted = id.has_value();
    if (id && !ids_.insert(*id).second) FAIL("seed " << seed_ << ": a request id was used twice");
    if (id) sent.id = *id;
    if (sent.completions != 0) FAIL("seed " << seed_ << ": completed inside infer");
  }

  void completed(Sent& sent, Result<Response> result) {
    if (++sent.completions > 1) FAIL("seed " << seed_ << ": completed twice");
    if (!result) {
      sent.error = result.error().code();
      if (*sent.error == ErrorCode::deadline_exceeded && rig_.clock->now() < sent.deadline) {
        FAIL("seed " << seed_ << ": deadline_exceeded before the deadline");
      }
      return;
    }
    const auto values = result->outputs.at(0).as<float>();
    if (values[0] != static_cast<float>(sent.text.size()) || values[1] != static_cast<float>(sent.text[0])) {
      FAIL("seed " << seed_ << ": answer of another request");
    }
  }

  void cancel() {
    if (sent_.empty()) return;
    const Sent& sent = *sent_[pick(sent_.size())];
    if (sent.accepted) rig_.engine->cancel(sent.id);
  }

  void finish() {
    rig_.engine->drain(Duration::zero());
    rig_.settle();
    rig_.clock->advance(Duration(10000));
    rig_.settle();
  }

  void verify() {
    std::size_t accepted = 0;
    for (const auto& sent : sent_) {
      accepted += sent->accepted ? 1 : 0;
      if (sent->completions != (sent->accepted ? 1 : 0)) {
        FAIL("seed " << seed_ << ": " << sent->completions << " completions, accepted " << sent->accepted);
      }
    }
    const MetricsSnapshot metrics = rig_.engine->metrics();
    if (metrics.value("tidegate_requests_total") != static_cast<double>(accepted))
      FAIL("seed " << seed_ << ": totals differ");
    for (const char* gauge : {"tidegate_queue_items", "tidegate_queue_tokens", "tidegate_queue_bytes",
                              "tidegate_running_batches", "tidegate_requests_in_flight"}) {
      if (metrics.value(gauge) != 0) FAIL("seed " << seed_ << ": " << gauge << " is not zero after drain");
    }
  }

  const std::uint64_t seed_;
  std::mt19937_64 random_;
  std::uint64_t max_batch_ = 0, max_tokens_ = 0, max_items_ = 0;
  std::shared_ptr<MoodyTier> tier_;
  EngineRig rig_;
  std::vector<std::unique_ptr<Sent>> sent_;
  std::set<RequestId> ids_;
};

}  // namespace

TEST_CASE("engine property: every accepted request completes exactly once under random schedules") {
  for (std::uint64_t seed = 1; seed <= kSchedules; ++seed) Schedule(seed).play();
}
