#include "queue/scheduler_driver.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <sstream>

namespace tidegate::test {
namespace {

// Records are handed to the core as tagged numbers, so a mix-up of the two kinds shows.
constexpr std::uintptr_t kRequestTag = 0x10000000;
constexpr std::uintptr_t kWorkTag = 0x20000000;

void* request_record(std::size_t n) { return reinterpret_cast<void*>(kRequestTag + n); }
void* work_record(std::size_t n) { return reinterpret_cast<void*>(kWorkTag + n); }

void expect(bool holds, const char* promise) {
  if (!holds) FAIL(std::string(promise));
}

std::uint32_t number_of(const void* record, std::uintptr_t tag, std::size_t count) {
  const auto value = reinterpret_cast<std::uintptr_t>(record);
  expect(value >= tag && value - tag < count, "a command names a record that was handed in");
  return static_cast<std::uint32_t>(value - tag);
}

using Place = SchedulerDriver::Work::Place;

}  // namespace

void Effects::sort() {
  std::sort(ended.begin(), ended.end());
  std::sort(retired.begin(), retired.end());
}

std::string Effects::text() const {
  std::ostringstream out;
  for (const End& one : ended) {
    out << "end " << one.request << " as " << static_cast<int>(one.outcome) << (one.joined ? " joined" : "");
    if (one.work) out << " by " << *one.work;
    out << "; ";
  }
  for (const auto& batch : started) {
    out << "start";
    for (const std::uint32_t work : batch) out << ' ' << work;
    out << "; ";
  }
  for (const std::uint32_t work : retired) out << "retire " << work << "; ";
  return out.str();
}

void expect_equal(Effects seen, const Effects& expected) {
  seen.sort();
  if (seen != expected) FAIL("the core did: " << seen.text() << " the model: " << expected.text());
}

SchedulerDriver::SchedulerDriver(const Setup& with)
    : setup(with), core(with.batching, with.admission, with.slots, with.layout) {}

bool SchedulerDriver::submit(ItemSize size, Deadline deadline, std::optional<std::uint8_t> key, Who who) {
  const auto request = static_cast<std::uint32_t>(requests.size());
  const auto work = static_cast<std::uint32_t>(works.size());
  requests.emplace_back().deadline = deadline;
  works.push_back({size, key, now, who.signature});
  Submission submission{request_record(request), work_record(work), size, deadline, {}};
  if (key) submission.key = key_of(*key);
  const std::string tenant = tenant_name(who.tenant);
  submission.priority = who.priority;
  submission.tenant = tenant;
  submission.signature = who.signature;
  const auto accepted = core.submit(now, submission);
  refusal = accepted ? std::optional<Error>() : accepted.error();
  if (accepted) {
    requests[request].accepted = true;
    requests[request].id = accepted->id;
    requests[request].joined = accepted->joined;
    requests[request].work = accepted->joined ? youngest_.at(key.value()) : work;
    if (!accepted->joined) {
      works[work].place = Place::queued;
      if (key) youngest_[*key] = work;
    }
    ++works[requests[request].work].waiters;
  }
  absorb();
  return accepted.has_value();
}

bool SchedulerDriver::join(std::uint8_t key, Deadline deadline, Priority priority) {
  const auto request = static_cast<std::uint32_t>(requests.size());
  requests.emplace_back().deadline = deadline;
  const auto id = core.join(now, key_of(key), deadline, priority, request_record(request));
  if (id) requests[request] = {true, *id, deadline, youngest_.at(key), true, {}};
  if (id) ++works[youngest_.at(key)].waiters;
  absorb();
  return id.has_value();
}

bool SchedulerDriver::cancel(std::uint32_t request) {
  const bool live = requests[request].accepted && !requests[request].outcome;
  const bool due = requests[request].deadline != kNoDeadline && requests[request].deadline <= now;
  const bool cancelled = core.cancel(now, requests[request].id);
  expect(cancelled == (live && !due), "cancel answers whether the waiter was still there");
  absorb();
  return cancelled;
}

void SchedulerDriver::advance(Ticks step) {
  now += Duration(step);
  core.advance(now);
  absorb();
}

void SchedulerDriver::done(std::uint32_t batch) {
  if (!batches[batch].done) just_done_ = batches[batch].works;
  for (const std::uint32_t work : just_done_) works[work].place = Place::finished;
  batches[batch].done = true;
  core.batch_done(now, batches[batch].id);
  absorb();
}

void SchedulerDriver::set_slots(std::uint32_t slots) {
  setup.slots = slots;
  core.set_slots(now, slots);
  absorb();
}

void SchedulerDriver::begin_drain() {
  draining = true;
  core.begin_drain(now);
  absorb();
}

void SchedulerDriver::fail_remaining() {
  draining = true;
  core.fail_remaining(now);
  absorb();
}

void SchedulerDriver::finish_all() {
  if (core.stats().queued_items > 0 && setup.slots == 0) set_slots(1);
  if (!draining) begin_drain();
  for (std::uint32_t i = 0; i < batches.size(); ++i) {
    if (!batches[i].done) done(i);
  }
  const SchedulerStats& stats = core.stats();
  expect(stats.waiters == 0 && stats.queued_items == 0 && stats.queued_tokens == 0 && stats.queued_bytes == 0 &&
             stats.running_batches == 0 && stats.running_items == 0,
         "every gauge returns to zero");
  expect(core.next_wake() == kNoDeadline, "nothing is left to wake for");
  for (const Request& request : requests) {
    expect(request.accepted == request.outcome.has_value(), "each accepted request has ended, no other has");
  }
  for (const Work& work : works) {
    expect(work.place == Place::unused || work.place == Place::retired, "every flight is retired");
  }
}

std::uint32_t SchedulerDriver::running() const {
  return static_cast<std::uint32_t>(
      std::count_if(batches.begin(), batches.end(), [](const Running& batch) { return !batch.done; }));
}

void SchedulerDriver::absorb() {
  const Commands commands = core.take_commands();
  last = {};
  for (const Complete& complete : commands.complete) take_completion(complete);
  for (const RunBatch& run : commands.run) take_batch(run);
  for (const Retire& retire : commands.retire) take_retirement(retire);
  for (const std::uint32_t work : just_done_) {
    expect(works[work].place == Place::retired, "a finished flight is retired at once");
  }
  just_done_.clear();
  check_counters();
  check_wake();
}

void SchedulerDriver::take_completion(const Complete& complete) {
  const std::uint32_t index = number_of(complete.waiter, kRequestTag, requests.size());
  Request& request = requests[index];
  expect(request.accepted && !request.outcome, "exactly one completion per accepted request");
  expect(complete.joined == request.joined, "the completion tells whether the request had joined");
  const bool due = request.deadline != kNoDeadline && request.deadline <= now;
  expect(due == (complete.outcome == Outcome::deadline_exceeded), "a due deadline, and nothing else, ends as one");
  expect(complete.outcome != Outcome::would_miss || request.deadline != kNoDeadline, "only a deadline can be missed");
  const bool finished = works[request.work].place == Place::finished;
  expect((complete.outcome == Outcome::answered) == (finished && !due), "answers come when the batch is done");
  request.outcome = complete.outcome;
  --works[request.work].waiters;
  Effects::End end{index, complete.outcome, complete.joined, {}};
  if (complete.work != nullptr) end.work = number_of(complete.work, kWorkTag, works.size());
  expect(end.work.has_value() == (complete.outcome == Outcome::answered), "answers, and only they, name their work");
  expect(!end.work || *end.work == request.work, "the answer is that of the flight joined");
  last.ended.push_back(end);
}

void SchedulerDriver::take_batch(const RunBatch& run) {
  expect(run.formed == now, "a batch is formed in the event that starts it");
  expect(!run.works.empty(), "no batch is empty");
  std::uint64_t rows = 0;
  std::uint64_t tokens = 0;
  std::uint64_t bytes = 0;
  std::uint64_t longest = 0;
  std::vector<std::uint32_t> numbers;
  for (const void* record : run.works) numbers.push_back(number_of(record, kWorkTag, works.size()));
  for (const std::uint32_t number : numbers) {
    expect(works[number].place == Place::queued, "only what waits is started");
    expect(works[number].waiters > 0, "a flight without waiters never starts");
    works[number].place = Place::running;
    rows += works[number].size.rows;
    tokens += works[number].size.tokens;
    bytes += works[number].size.bytes;
    longest = std::max(longest, (works[number].size.tokens + works[number].size.rows - 1) / works[number].size.rows);
    expect(works[number].signature == works[numbers.front()].signature, "one signature per batch");
  }
  for (const Request& request : requests) {
    const bool due = request.accepted && !request.outcome && request.deadline <= now;
    expect(!due || request.deadline == kNoDeadline, "whoever is due has ended before a batch is formed");
  }
  expect(rows <= setup.batching.max_batch_size, "no batch over max_batch_size");
  expect(tokens <= setup.batching.max_batch_tokens, "no batch over max_batch_tokens");
  expect(bytes <= setup.batching.max_batch_bytes, "no batch over max_batch_bytes");
  const bool pads = setup.layout == BatchLayout::padded && numbers.size() > 1;
  expect(!pads || rows * longest <= setup.batching.max_batch_tokens, "no batch computes more than max_batch_tokens");
  const std::vector<std::uint32_t>& sizes = setup.batching.allowed_batch_sizes;
  expect(sizes.empty() || rows <= sizes.back(), "no batch over the largest size that is allowed");
  for (const Running& batch : batches) expect(batch.id != run.id, "batch ids are not reused");
  expect(running() < setup.slots, "a batch starts only in a free slot");
  batches.push_back({run.id, numbers});
  last.started.push_back(std::move(numbers));
}

void SchedulerDriver::take_retirement(const Retire& retire) {
  const std::uint32_t number = number_of(retire.work, kWorkTag, works.size());
  Work& work = works[number];
  expect(work.place == Place::queued || work.place == Place::finished, "retired once, and never while it runs");
  expect(work.waiters == 0, "a flight is retired after its last completion");
  work.place = Place::retired;
  last.retired.push_back(number);
}

void SchedulerDriver::check_counters() const {
  const SchedulerStats& stats = core.stats();
  expect(stats.accepted == stats.answered + stats.deadline_exceeded + stats.would_miss + stats.shed + stats.preempted +
                               stats.stuck + stats.cancelled + stats.shut_down + stats.waiters,
         "accepted = ended + waiting");
  std::uint64_t items = 0;
  std::uint64_t tokens = 0;
  std::uint64_t bytes = 0;
  std::uint64_t running_items = 0;
  for (const Work& work : works) {
    running_items += work.place == Place::running ? 1 : 0;
    if (work.place != Place::queued) continue;
    ++items;
    tokens += work.size.tokens;
    bytes += work.size.bytes;
  }
  expect(stats.queued_items == items && stats.queued_tokens == tokens && stats.queued_bytes == bytes,
         "the queue gauges are exact");
  expect(stats.running_items == running_items && stats.running_batches == running(), "the running gauges are exact");
  expect(items <= setup.admission.max_queued_items && tokens <= setup.admission.max_queued_tokens &&
             bytes <= setup.admission.max_queued_bytes,
         "the admission caps hold");
}

void SchedulerDriver::check_wake() const {
  TimePoint wake = kNoDeadline;
  for (const Request& request : requests) {
    if (request.accepted && !request.outcome) wake = std::min(wake, request.deadline);
  }
  const auto oldest =
      std::find_if(works.begin(), works.end(), [](const Work& work) { return work.place == Place::queued; });
  if (oldest != works.end() && running() < setup.slots) {
    const TimePoint end = oldest->arrival + setup.batching.max_queue_delay;
    expect(!draining && end > now, "a free slot waits for company only while the oldest lingers");
    wake = std::min(wake, end);
  }
  // Once times are learned, a wait may end sooner; and running batches are watched.
  const bool learned = core.profile().samples >= 32 && setup.batching.prediction == Prediction::learned;
  const bool watched = running() > 0 && core.next_wake() > now;
  expect(core.next_wake() == wake || ((learned || watched) && core.next_wake() < wake),
         "next_wake is the earliest deadline or linger end");
}

}  // namespace tidegate::test
