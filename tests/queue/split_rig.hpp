// SplitRig: drives a SchedulerCore with requests in parts and holds every command against
// what is promised of them.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <deque>
#include <optional>
#include <set>
#include <vector>

#include "queue/scheduler_core.hpp"
#include "queue/scheduler_driver.hpp"

namespace tidegate::test {

struct Wish {
  Deadline deadline = kNoDeadline;
  std::optional<std::uint8_t> key{};
  Who who{};
};

class SplitRig {
 public:
  /// A request, with the computation it opened: a whole and its parts, or one work.
  struct Asked {
    WaiterId id{};
    bool accepted = false;
    bool joined = false;
    std::optional<Outcome> outcome{};
    void* answer = nullptr;  ///< the work its completion named
    int whole = 0;           ///< address stands for the whole
    std::deque<int> parts{};
    std::vector<ItemSize> sizes{};
    Deadline deadline = kNoDeadline;
  };

  explicit SplitRig(const Setup& with) : setup(with), core(with.batching, with.admission, with.slots) {}

  Asked& ask(std::vector<ItemSize> sizes, Wish wish = {}) {
    Asked& one = asked.emplace_back();
    one.sizes = std::move(sizes);
    one.deadline = wish.deadline;
    std::vector<SubmittedPart> parts;
    for (const ItemSize& size : one.sizes) parts.push_back({&one.parts.emplace_back(), size});
    Submission submission{&one, &one.whole, one.sizes.front(), wish.deadline, {}};
    if (wish.key) submission.key = key_of(*wish.key);
    const std::string tenant = tenant_name(wish.who.tenant);
    submission.priority = wish.who.priority;
    submission.tenant = tenant;
    if (parts.size() > 1) submission.parts = parts;
    const auto accepted = core.submit(now, submission);
    refusal = accepted ? std::optional<Error>() : accepted.error();
    one.accepted = accepted.has_value();
    one.joined = accepted && accepted->joined;
    if (accepted) one.id = accepted->id;
    absorb();
    return one;
  }
  void done(std::size_t batch) {
    core.batch_done(now, batches[batch].id);
    for (void* work : batches[batch].works) ran.insert(work);
    ended.insert(batch);
    absorb();
  }
  bool fail(std::size_t batch, void* work) {
    failed.insert(work);
    const bool first = core.part_failed(now, batches[batch].id, work);
    absorb();
    return first;
  }
  bool cancel(Asked& one) {
    const bool was = core.cancel(now, one.id);
    absorb();
    return was;
  }
  void pass(Ticks ticks) {
    now += Duration(ticks);
    core.advance(now);
    absorb();
  }
  void fail_remaining() {
    core.fail_remaining(now);
    absorb();
  }
  /// Lets everything run, then expects empty books.
  void finish() {
    core.set_slots(now, std::max<std::uint32_t>(1, setup.slots));
    core.begin_drain(now);
    absorb();
    for (std::size_t i = 0; i < batches.size(); ++i) {
      if (!ended.contains(i)) done(i);
    }
    const SchedulerStats& stats = core.stats();
    CHECK(stats.waiters == 0);
    CHECK(stats.queued_items == 0);
    CHECK(stats.queued_tokens == 0);
    CHECK(stats.running_items == 0);
    for (const Asked& one : asked) {
      CHECK(one.accepted == one.outcome.has_value());
      if (!one.accepted || one.joined) continue;
      CHECK(retired.contains(&one.whole));
      for (const int& part : one.parts) CHECK((one.parts.size() == 1 || retired.contains(&part)));
    }
  }
  [[nodiscard]] Asked* asker_of(const void* work) {
    for (Asked& one : asked) {
      if (work == &one.whole) return &one;
      for (const int& part : one.parts) {
        if (work == &part) return &one;
      }
    }
    return nullptr;
  }

  Setup setup;
  SchedulerCore core;
  TimePoint now = at(1000);
  std::deque<Asked> asked;
  std::vector<RunBatch> batches;
  std::set<std::size_t> ended;
  std::set<const void*> started, ran, failed, retired;
  std::optional<Error> refusal;

 private:
  void absorb() {
    Commands commands = core.take_commands();
    for (const Complete& complete : commands.complete) {
      auto& one = *static_cast<Asked*>(complete.waiter);
      REQUIRE(one.accepted);
      REQUIRE_FALSE(one.outcome.has_value());
      one.outcome = complete.outcome;
      one.answer = complete.work;
    }
    for (RunBatch& batch : commands.run) take(std::move(batch));
    for (const Retire& retire : commands.retire) {
      REQUIRE(retired.insert(retire.work).second);
      Asked* const owner = asker_of(retire.work);
      REQUIRE(owner != nullptr);
      if (retire.work != &owner->whole || owner->parts.size() == 1) continue;
      for (const int& part : owner->parts) REQUIRE(retired.contains(&part));
    }
  }
  void take(RunBatch batch) {
    std::uint64_t rows = 0;
    for (void* work : batch.works) {
      REQUIRE(started.insert(work).second);
      REQUIRE_FALSE(retired.contains(work));
      Asked& owner = *asker_of(work);
      REQUIRE((owner.parts.size() == 1) == (work == &owner.whole));
      std::size_t at = 0;
      while (owner.parts.size() > 1 && &owner.parts[at] != work) ++at;
      rows += owner.sizes[at].rows;
    }
    REQUIRE(rows <= setup.batching.max_batch_size);
    batches.push_back(std::move(batch));
  }
};

}  // namespace tidegate::test
