// What costs no heap: refusals always, everything but the commands once the core is warm.
#include <doctest/doctest.h>

#include <cstdlib>
#include <new>
#include <vector>

#include "queue/scheduler_driver.hpp"

namespace {

thread_local std::size_t allocations = 0;  // of a thread

}  // namespace

void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(size);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

using namespace tidegate;
using namespace tidegate::test;

namespace {

template <class F>
std::size_t allocations_of(F&& action) {
  const std::size_t before = allocations;
  action();
  return allocations - before;
}

}  // namespace

TEST_CASE("queue: a refusal of any kind allocates nothing") {
  AdmissionOptions caps;
  caps.max_queued_items = 1;
  SchedulerCore core({}, caps, 0);
  int record = 0;
  Submission submission{&record, &record};
  REQUIRE(core.submit(at(1000), submission).has_value());
  const auto refuse = [&] { CHECK_FALSE(core.submit(at(1000), submission).has_value()); };
  const auto refuse_quietly = [&] { static_cast<void>(core.submit(at(1000), submission)); };
  refuse();
  CHECK(allocations_of(refuse_quietly) == 0);
  submission.size.rows = 1000;
  refuse();
  CHECK(allocations_of(refuse_quietly) == 0);
  core.begin_drain(at(1000));
  refuse();
  CHECK(allocations_of(refuse_quietly) == 0);
}

TEST_CASE("queue: once warm, arrivals and joins allocate nothing") {
  SchedulerCore core({64, 10'000, Duration(0)}, {}, 0);
  int record = 0;
  Ticks time = 1000;
  const auto arrive = [&] {
    for (std::uint8_t i = 0; i < 200; ++i) {
      Submission submission{&record, &record};
      submission.deadline = at(++time + 1'000'000);
      submission.key = key_of(i);
      static_cast<void>(core.submit(at(time), submission));
      static_cast<void>(core.join(at(time), *submission.key, at(time + 500'000), Priority::interactive, &record));
    }
  };
  const auto work_off = [&] {
    core.set_slots(at(time), 1);
    Commands commands = core.take_commands();
    while (!commands.run.empty()) {
      core.batch_done(at(++time), commands.run.back().id);
      commands = core.take_commands();
    }
    core.set_slots(at(time), 0);
  };
  for (int i = 0; i < 3; ++i) {
    arrive();
    work_off();
  }
  CHECK(allocations_of(arrive) == 0);
  CHECK(core.stats().queued_items == 200);
  CHECK(core.stats().waiters == 400);
}
