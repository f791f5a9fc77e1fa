// Completions in the order of acceptance, over random schedules of the scheduler core.
#include "queue/delivery_order.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "queue/scheduler_driver.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

RequestOptions keyed(std::string key, Deadline deadline = kNoDeadline) {
  RequestOptions options;
  options.ordering_key = std::move(key);
  options.deadline = deadline;
  return options;
}

/// A model whose scheduler and order are played by hand, as the engine plays them.
class OrderedRig {
 public:
  struct Asked : Turn {
    std::string line;  ///< empty = in none
    std::uint64_t number = 0;
    std::optional<std::uint32_t> request{};  ///< the driver's; none = a look-up or a hit
    Deadline deadline = kNoDeadline;
    enum class State : std::uint8_t { open, held, called, told } state = State::open;
    bool in_turn = true;
  };

  OrderedRig(Ordering how, const Setup& setup) : driver(setup), order(how, 1'000'000), ordering(how) {}

  Asked& accept(const std::string& key, Deadline deadline = kNoDeadline) {
    Asked& one = asked.emplace_back();
    one.line = ordering == Ordering::lane ? "all" : key;
    one.number = asked.size();
    one.deadline = deadline;
    order.enter(one, keyed(ordering == Ordering::lane ? "" : key, deadline));
    return one;
  }
  /// The request goes to the scheduler; a refusal ends it in turn.
  void submit(Asked& one, std::optional<std::uint8_t> equal = {}) {
    const auto request = static_cast<std::uint32_t>(driver.requests.size());
    one.request = request;
    if (!driver.submit({}, one.deadline, equal)) {
      one.request.reset();
      end(one);
    }
    absorb();
  }
  void end(Asked& one) {
    if (order.end(one)) return call(one);
    one.state = Asked::State::held;
    REQUIRE(somebody_before(one));  // else it would be held for nobody
  }
  void leave(Asked& one) {
    one.in_turn = false;
    call(one);
    order.leave(one, [this](Turn& next) { call(static_cast<Asked&>(next)); });
  }
  void cancel(Asked& one) {
    if (one.state == Asked::State::called || one.state == Asked::State::told) return;
    if (one.state == Asked::State::held || !one.request) return leave(one);
    driver.cancel(*one.request);
    absorb();
  }
  void pass(Ticks ticks) {
    driver.advance(ticks);
    absorb();
    while (Turn* const due = order.first_due(driver.now)) {
      REQUIRE(static_cast<Asked&>(*due).deadline <= driver.now);
      leave(static_cast<Asked&>(*due));
    }
  }
  void done(std::uint32_t batch) {
    driver.done(batch);
    absorb();
  }
  /// The executor tells all that was called in one event, in order.
  void tell_some() {
    if (lists.empty()) return;
    const std::vector<Asked*> list = std::move(lists.front());
    lists.pop_front();
    for (Asked* one : list) {
      if (one->in_turn && !one->line.empty()) {
        REQUIRE(one->number > last_told[one->line]);
        last_told[one->line] = one->number;
      }
      one->state = Asked::State::told;
      told.push_back(one);
    }
    for (Asked* one : list) order.leave(*one, [this](Turn& next) { call(static_cast<Asked&>(next)); });
    close_list();
  }
  /// What was called since the last call goes to the executor as one list.
  void close_list() {
    if (!calling.empty()) lists.push_back(std::move(calling));
    calling.clear();
  }
  void absorb() {
    for (const test::Effects::End& end_of : driver.last.ended) {
      for (Asked& one : asked) {
        if (one.request != end_of.request || one.state != Asked::State::open) continue;
        end_of.outcome == Outcome::answered ? end(one) : leave(one);
      }
    }
    driver.last.ended.clear();
  }
  [[nodiscard]] bool somebody_before(const Asked& one) const {
    return std::ranges::any_of(asked, [&one](const Asked& other) {
      return !one.line.empty() && other.line == one.line && other.number < one.number && other.in_turn &&
             other.state != Asked::State::told;
    });
  }

  SchedulerDriver driver;
  DeliveryOrder order;
  Ordering ordering;
  std::deque<Asked> asked;
  std::vector<Asked*> calling;
  std::deque<std::vector<Asked*>> lists;
  std::vector<Asked*> told;
  std::map<std::string, std::uint64_t> last_told;

 private:
  void call(Asked& one) {
    one.state = Asked::State::called;
    // Nobody of its line who is before it may still be told after it: only those in this list.
    calling.push_back(&one);
  }
};

Setup slots_of(std::uint32_t slots) {
  Setup setup;
  setup.batching = {4, 1'000'000, Duration(0)};
  setup.admission.max_queued_items = 40;
  setup.slots = slots;
  return setup;
}

}  // namespace

TEST_CASE("queue facts: twelve requests over two instances of unlike speed are answered in the order they came in") {
  Setup setup = slots_of(2);
  setup.batching.max_queue_delay = Duration(10'000);
  OrderedRig rig(Ordering::lane, setup);
  for (int i = 0; i < 12; ++i) rig.submit(rig.accept(""));
  rig.close_list();
  REQUIRE(rig.driver.batches.size() == 2);
  // The first batch takes 400 ms, the second and third 100 ms each.
  rig.pass(100);
  rig.done(1);
  rig.close_list();
  rig.pass(100);
  rig.done(2);
  rig.close_list();
  CHECK(rig.lists.empty());
  CHECK(rig.order.held() == 8);
  rig.pass(200);
  rig.done(0);
  rig.close_list();
  while (!rig.lists.empty()) rig.tell_some();
  REQUIRE(rig.told.size() == 12);
  for (std::size_t i = 0; i < 12; ++i) CHECK(rig.told[i]->number == i + 1);
  for (const auto& batch : rig.driver.batches) CHECK(batch.works.size() == 4);
  CHECK(rig.order.size() == 0);
}

TEST_CASE("queue: who is cancelled, expires or is shed leaves its line at once and lets the next ones through") {
  OrderedRig rig(Ordering::per_key, slots_of(0));
  auto& first = rig.accept("a");
  auto& second = rig.accept("a", at(1010));
  auto& third = rig.accept("a");
  auto& other = rig.accept("b");
  rig.end(third);
  rig.end(other);
  CHECK(other.state == OrderedRig::Asked::State::called);
  rig.end(second);
  CHECK(rig.order.earliest() == at(1010));
  rig.pass(10);  // its answer is there, but its time is over
  CHECK(second.state == OrderedRig::Asked::State::called);
  CHECK_FALSE(second.in_turn);
  CHECK(third.state == OrderedRig::Asked::State::held);
  rig.cancel(first);
  CHECK(third.state == OrderedRig::Asked::State::called);
  CHECK(rig.order.held() == 0);
  CHECK(rig.order.earliest() == kNoDeadline);
}

TEST_CASE("queue: until a completion has been told the next one of its key is held") {
  OrderedRig rig(Ordering::per_key, slots_of(0));
  auto& first = rig.accept("a");
  auto& second = rig.accept("a");
  rig.end(first);
  rig.close_list();
  rig.end(second);
  CHECK(second.state == OrderedRig::Asked::State::held);
  CHECK_FALSE(rig.order.is_free(keyed("a")));
  rig.tell_some();
  CHECK(second.state == OrderedRig::Asked::State::called);
  rig.tell_some();
  CHECK(rig.order.is_free(keyed("a")));
}

TEST_CASE("queue: order and priority do not go together, and a key needs a model ordered by key") {
  RequestOptions urgent = keyed("a");
  urgent.priority = Priority::critical;
  RequestOptions plain;
  plain.priority = Priority::batch;
  const DeliveryOrder none(Ordering::none, 9), by_key(Ordering::per_key, 9), lane(Ordering::lane, 9);
  CHECK(none.check(plain));
  CHECK(by_key.check(plain));  // it stands in no line
  CHECK(by_key.check(keyed("a")));
  CHECK(lane.check({}));
  for (const auto& refused : {none.check(keyed("a")), lane.check(keyed("a")), by_key.check(urgent), lane.check(plain),
                              by_key.check(keyed(std::string(257, 'k')))}) {
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == ErrorCode::invalid_argument);
  }
}

TEST_CASE("queue 4.13/13: ordered keys never reorder, over slots, expiry, cancel, refusal, cache hit and join") {
  std::uint64_t held = 0;
  std::uint64_t left = 0;
  for (std::uint32_t seed = 0; seed < 400; ++seed) {
    std::mt19937 random(seed);
    const auto roll = [&](std::size_t below) { return static_cast<std::uint32_t>(random() % below); };
    OrderedRig rig(seed % 2 == 0 ? Ordering::per_key : Ordering::lane, slots_of(1 + roll(4)));
    for (int step = 0; step < 150; ++step) {
      const std::uint32_t kind = roll(12);
      if (kind < 5) {
        const Deadline deadline = roll(3) == 0 ? rig.driver.now + Duration(1 + roll(30)) : kNoDeadline;
        auto& one = rig.accept(std::string(roll(3), 'k'), deadline);
        if (kind == 0) rig.end(one);  // a hit
        if (kind > 1) rig.submit(one, roll(2) == 0 ? std::optional<std::uint8_t>(roll(3)) : std::nullopt);
      } else if (kind == 5 && !rig.asked.empty()) {  // a look-up ends
        auto& one = rig.asked[roll(rig.asked.size())];
        if (one.state == OrderedRig::Asked::State::open && !one.request) roll(2) == 0 ? rig.end(one) : rig.submit(one);
      } else if (kind < 8 && !rig.driver.batches.empty()) {
        const std::uint32_t batch = roll(rig.driver.batches.size());
        if (!rig.driver.batches[batch].done) rig.done(batch);
      } else if (kind == 8 && !rig.asked.empty()) {
        rig.cancel(rig.asked[roll(rig.asked.size())]);
      } else if (kind == 9) {
        rig.pass(roll(10));
      } else {
        rig.close_list();
        rig.tell_some();
      }
      rig.close_list();
      held += rig.order.held();
      for (const auto& one : rig.asked) {  // nobody is held for nobody
        if (one.state == OrderedRig::Asked::State::held) REQUIRE(rig.somebody_before(one));
      }
    }
    for (auto& one : rig.asked) {
      if (one.state == OrderedRig::Asked::State::open && !one.request) rig.end(one);
    }
    rig.driver.begin_drain();
    rig.absorb();
    for (std::uint32_t i = 0; i < rig.driver.batches.size(); ++i) {
      if (!rig.driver.batches[i].done) rig.done(i);
    }
    rig.close_list();
    while (!rig.lists.empty()) rig.tell_some();
    CHECK(rig.told.size() == rig.asked.size());
    CHECK(rig.order.size() == 0);
    CHECK(rig.order.held() == 0);
    left += static_cast<std::uint64_t>(std::ranges::count(rig.asked, false, &OrderedRig::Asked::in_turn));
  }
  CHECK(held > 1000);
  CHECK(left > 1000);
}
