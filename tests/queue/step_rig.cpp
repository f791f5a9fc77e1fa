#include "queue/step_rig.hpp"

#include <doctest/doctest.h>

#include <set>
#include <utility>

namespace tidegate::test {
namespace {

// Records are numbered from 1, so that none of them is null.
void* record(std::size_t item) { return reinterpret_cast<void*>(item + 1); }
std::uint32_t item_of(void* record) { return static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(record) - 1); }

}  // namespace

StepRig::StepRig(const Setup& with)
    : setup(with), core(with.batching, with.admission, with.slots, BatchLayout::packed, Stepping::iterative) {}

std::uint32_t StepRig::most_kept() const {
  return setup.batching.max_sequences > 0 ? setup.batching.max_sequences : 4 * setup.batching.max_batch_size;
}

std::uint32_t StepRig::submit(std::vector<ItemSize> plan, Deadline deadline, Who who) {
  const auto item = static_cast<std::uint32_t>(items.size());
  items.emplace_back().plan = std::move(plan);
  const std::string tenant = tenant_name(who.tenant);
  const Submission submission{.waiter = record(item),
                              .work = record(item),
                              .size = items[item].plan.front(),
                              .deadline = deadline,
                              .priority = who.priority,
                              .tenant = tenant};
  const auto accepted = core.submit(now, submission);
  items[item].accepted = accepted.has_value();
  items[item].deadline = deadline;
  if (accepted) items[item].id = accepted->id;
  absorb();
  return item;
}

void StepRig::unpark(std::uint32_t item) {
  items[item].parked = false;
  core.unpark(now, items[item].id);
  absorb();
}

bool StepRig::cancel(std::uint32_t item) {
  const bool pending = items[item].accepted && !items[item].outcome && items[item].deadline > now;
  const bool cancelled = core.cancel(now, items[item].id);
  if (cancelled != pending) FAIL("cancel of item " << item << " answers " << cancelled);
  absorb();
  return cancelled;
}

void StepRig::advance(Ticks step) {
  now += Duration(step);
  core.advance(now);
  absorb();
}

void StepRig::done(std::uint32_t batch, BatchEnd end) {
  Running& run = batches[batch];
  run.done = true;
  for (std::size_t i = 0; i < run.items.size(); ++i) {
    Item& item = items[run.items[i]];
    item.running = false;
    ++item.taken;
    item.failed = end == BatchEnd::failed;
    if (item.failed || item.taken == item.plan.size()) continue;
    item.parked = item.taken >= item.parks_after && !item.outcome;
    run.steps[i].kind = item.parked ? StepResult::Kind::parked : StepResult::Kind::proceeds;
    run.steps[i].next_size = item.next();
  }
  const std::vector<StepResult> steps = run.steps;
  core.batch_done(now, run.id, end, end == BatchEnd::ran ? steps : std::vector<StepResult>());
  absorb();
}

void StepRig::set_slots(std::uint32_t slots) {
  setup.slots = slots;
  core.set_slots(now, slots);
  absorb();
}

void StepRig::begin_drain() {
  core.begin_drain(now);
  absorb();
}

void StepRig::fail_remaining() {
  core.fail_remaining(now);
  absorb();
}

std::vector<std::uint32_t> StepRig::running() const {
  std::vector<std::uint32_t> list;
  for (std::uint32_t i = 0; i < batches.size(); ++i) {
    if (!batches[i].done) list.push_back(i);
  }
  return list;
}

void StepRig::finish_running() {
  for (auto list = running(); !list.empty(); list = running()) done(list.front());
}

void StepRig::finish_all() {
  if (setup.slots == 0) set_slots(1);
  for (Item& item : items) item.parks_after = SIZE_MAX;
  finish_running();
  for (std::uint32_t i = 0; i < items.size(); ++i) {
    if (items[i].accepted && !items[i].outcome) unpark(i);
    finish_running();
  }
  advance(Duration(setup.batching.max_queue_delay).count());
  finish_running();
  for (const Item& item : items) {
    if (!item.accepted) continue;
    if (!item.outcome || !item.retired) FAIL("an accepted item has not ended, or its work was not retired");
    if (item.outcome == Outcome::answered && !item.failed && item.taken != item.plan.size())
      FAIL("an answer lacks steps");
  }
  const SchedulerStats& stats = core.stats();
  if (stats.waiters + stats.queued_items + stats.running_items + stats.kept_items + stats.parked_items > 0) {
    FAIL("a gauge has not returned to zero");
  }
}

void StepRig::absorb() {
  const Commands commands = core.take_commands();
  for (const Complete& end : commands.complete) {
    Item& item = items[item_of(end.waiter)];
    if (item.outcome) FAIL("an item has ended twice");
    item.outcome = end.outcome;
    item.parked = false;
  }
  for (const RunBatch& run : commands.run) take_batch(run);
  for (const Retire& retire : commands.retire) {
    Item& item = items[item_of(retire.work)];
    if (item.retired || item.running || !item.outcome) FAIL("a work was retired twice, too early or while it runs");
    item.retired = true;
  }
  check_books();
}

void StepRig::take_batch(const RunBatch& run) {
  Running batch{run.id, run.slot, {}, run.steps, false};
  if (run.works.empty() || run.works.size() != run.steps.size()) FAIL("a step without items, or without their results");
  for (const Running& other : batches) {
    if (!other.done && other.slot == run.slot) FAIL("two steps run in slot " << run.slot);
  }
  std::uint64_t rows = 0, tokens = 0, bytes = 0;
  int many_long = 0;
  for (void* const work : run.works) {
    const std::uint32_t number = item_of(work);
    Item& item = items[number];
    if (item.running || item.parked || item.outcome) FAIL("item " << number << " runs, is parked or has ended");
    if (item.slot && item.slot != run.slot) FAIL("item " << number << " has left its slot");
    if (!item.slot && run.slot >= setup.slots) FAIL("a new item enters a slot that is going");
    item.slot = run.slot;
    item.running = true;
    rows += item.next().rows;
    tokens += item.next().tokens;
    bytes += item.next().bytes;
    many_long += item.next().tokens > setup.batching.max_batch_tokens / 4 ? 1 : 0;
    batch.items.push_back(number);
  }
  const BatchingOptions& caps = setup.batching;
  if (rows > caps.max_batch_size || tokens > caps.max_batch_tokens || bytes > caps.max_batch_bytes) {
    FAIL("a step breaks a cap: " << rows << " rows, " << tokens << " tokens, " << bytes << " bytes");
  }
  if (many_long > 1) FAIL("a step has " << many_long << " long items");
  batches.push_back(std::move(batch));
}

void StepRig::check_books() const {
  std::uint32_t kept = 0, parked = 0, ready = 0;
  std::map<std::uint32_t, std::uint32_t> in_slot;
  std::set<std::uint32_t> busy;
  for (const Running& batch : batches) {
    if (!batch.done) busy.insert(batch.slot);
  }
  for (const Item& item : items) {
    if (!item.accepted || item.outcome || !item.slot) continue;
    ++in_slot[*item.slot];
    if (item.running) continue;
    ++kept;
    parked += item.parked ? 1 : 0;
    ready += !item.parked && !busy.contains(*item.slot) ? 1 : 0;
  }
  const SchedulerStats& stats = core.stats();
  if (stats.kept_items != kept || stats.parked_items != parked) {
    FAIL("the core keeps " << stats.kept_items << ", " << stats.parked_items << " parked; it should " << kept << ", "
                           << parked);
  }
  // Work conservation: a free slot never rests while one of its own waits for a step.
  if (ready > 0) FAIL("a slot rests though an item is ready in it");
  for (const auto& [slot, count] : in_slot) {
    if (count > most_kept()) FAIL("slot " << slot << " keeps " << count << " items");
  }
}

}  // namespace tidegate::test
