// CircuitBreaker: a pure object, so every case is arithmetic on given times.
#include "base/circuit_breaker.hpp"

#include <doctest/doctest.h>

using namespace tidegate;
using std::chrono::milliseconds;
using std::chrono::seconds;
using State = CircuitBreaker::State;
using Permit = CircuitBreaker::Permit;
using Failure = CircuitBreaker::Failure;

namespace {

const TimePoint kStart{std::chrono::hours(1)};

/// Opens it by silence; answers how long it stays open.
Duration open_once(CircuitBreaker& breaker, TimePoint now) {
  for (int i = 0; i < 5; ++i) breaker.failed(now, Failure::silence);
  return breaker.open_until() - now;
}

CircuitBreaker::Options without_jitter() {
  CircuitBreaker::Options options;
  options.jitter_percent = 0;
  return options;
}

}  // namespace

TEST_CASE("breaker: five silent calls in a row open it, an answer in between starts the count anew") {
  CircuitBreaker breaker({}, 1);
  for (int i = 0; i < 4; ++i) breaker.failed(kStart, Failure::silence);
  breaker.succeeded(kStart);
  for (int i = 0; i < 4; ++i) breaker.failed(kStart, Failure::silence);
  breaker.failed(kStart, Failure::refusal);
  for (int i = 0; i < 4; ++i) breaker.failed(kStart, Failure::silence);
  CHECK(breaker.state() == State::closed);
  CHECK(breaker.ask(kStart) == Permit::call);
  breaker.failed(kStart, Failure::silence);
  CHECK(breaker.state() == State::open);
  CHECK(breaker.ask(kStart) == Permit::refuse);
}

TEST_CASE("breaker: half of twenty calls within ten seconds open it, nineteen calls do not") {
  CircuitBreaker few({}, 1);
  for (int i = 0; i < 19; ++i) few.failed(kStart, Failure::refusal);
  CHECK(few.state() == State::closed);
  few.failed(kStart, Failure::refusal);
  CHECK(few.state() == State::open);

  CircuitBreaker mixed({}, 1);
  for (int i = 0; i < 20; ++i) mixed.succeeded(kStart + milliseconds(i));
  for (int i = 0; i < 19; ++i) mixed.failed(kStart + milliseconds(i), Failure::refusal);
  CHECK(mixed.state() == State::closed);
  mixed.failed(kStart + milliseconds(60), Failure::refusal);
  CHECK(mixed.state() == State::open);
}

TEST_CASE("breaker: what happened more than ten seconds ago counts no more") {
  CircuitBreaker breaker({}, 1);
  for (int i = 0; i < 19; ++i) breaker.failed(kStart, Failure::refusal);
  for (int i = 0; i < 19; ++i) breaker.failed(kStart + seconds(11), Failure::refusal);
  CHECK(breaker.state() == State::closed);
  breaker.failed(kStart + seconds(11), Failure::refusal);
  CHECK(breaker.state() == State::open);
}

TEST_CASE("breaker: one second, doubled by each failed probe up to thirty, and one again after a good probe") {
  CircuitBreaker breaker(without_jitter(), 1);
  TimePoint now = kStart;
  CHECK(open_once(breaker, now) == seconds(1));
  for (const int expected : {2, 4, 8, 16, 30, 30, 30}) {
    now = breaker.open_until();
    CHECK(breaker.ask(now - Duration(1)) == Permit::refuse);
    REQUIRE(breaker.ask(now) == Permit::probe);
    breaker.probe_failed(now);
    CHECK(breaker.open_until() - now == seconds(expected));
  }
  now = breaker.open_until();
  REQUIRE(breaker.ask(now) == Permit::probe);
  breaker.probe_succeeded();
  CHECK(breaker.state() == State::closed);
  CHECK(open_once(breaker, now) == seconds(1));
}

TEST_CASE("breaker: one probe at a time, and only its end counts") {
  CircuitBreaker breaker({}, 1);
  open_once(breaker, kStart);
  const TimePoint later = breaker.open_until();
  REQUIRE(breaker.ask(later) == Permit::probe);
  CHECK(breaker.state() == State::half_open);
  CHECK(breaker.ask(later + seconds(100)) == Permit::refuse);
  breaker.succeeded(later);
  breaker.failed(later, Failure::silence);
  CHECK(breaker.state() == State::half_open);
  breaker.probe_succeeded();
  CHECK(breaker.ask(later) == Permit::call);
}

TEST_CASE("breaker: calls that began before it opened change nothing while it is open") {
  CircuitBreaker breaker(without_jitter(), 1);
  open_once(breaker, kStart);
  const TimePoint until = breaker.open_until();
  for (int i = 0; i < 100; ++i) breaker.failed(kStart + milliseconds(i), Failure::silence);
  breaker.succeeded(kStart);
  breaker.probe_succeeded();
  CHECK(breaker.state() == State::open);
  CHECK(breaker.open_until() == until);
}

TEST_CASE("breaker: times vary by a fifth, by seed, and equal seeds agree") {
  Duration least = seconds(10);
  Duration most{0};
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    CircuitBreaker one({}, seed);
    CircuitBreaker same({}, seed);
    const Duration span = open_once(one, kStart);
    CHECK(span == open_once(same, kStart));
    least = std::min(least, span);
    most = std::max(most, span);
  }
  CHECK(least >= milliseconds(800));
  CHECK(least < milliseconds(850));
  CHECK(most <= milliseconds(1200));
  CHECK(most > milliseconds(1150));
}
