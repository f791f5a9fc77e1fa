// The parts behind the C functions: barrier, completion queue, request table.
#include <doctest/doctest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <deque>
#include <new>
#include <random>
#include <set>
#include <stdexcept>
#include <thread>
#include <unordered_map>

#include "boundary.hpp"
#include "completion_queue.hpp"
#include "json_writer.hpp"
#include "request_table.hpp"

namespace {

using tidegate::Error;
using tidegate::ErrorCode;
using tidegate::Result;
using namespace tidegate::capi;

struct NotAnException {};

Answer make_answer(std::uint64_t tag) {
  auto answer = std::make_unique<tidegate_result>();
  answer->tag = tag;
  return answer;
}

std::shared_ptr<CompletionQueue> make_queue() {
  auto queue = CompletionQueue::create();
  REQUIRE(queue);
  return *queue;
}

bool is_readable(const CompletionQueue& queue) {
  pollfd waiting{queue.descriptor(), POLLIN, 0};
  return ::poll(&waiting, 1, 0) == 1;
}

/// Tags of up to `max` records, in order.
std::vector<std::uint64_t> take(CompletionQueue& queue, std::size_t max) {
  auto list = queue.drain(max);
  REQUIRE(list);
  std::vector<std::uint64_t> tags;
  for (Answer answer = std::move(*list); answer != nullptr; answer = std::move(answer->next))
    tags.push_back(answer->tag);
  return tags;
}

template <class Thrown>
void check_barrier(Thrown thrown, tidegate_status expected, const std::string& text) {
  tidegate_error* err = nullptr;
  CHECK(guarded(&err, [&]() -> Result<void> { throw thrown; }) == expected);
  REQUIRE(err != nullptr);
  CHECK(tidegate_error_code(err) == expected);
  CHECK(std::string(tidegate_error_message(err, nullptr)) == text);
  tidegate_error_release(err);
  CHECK(guarded(nullptr, [&]() -> Result<void> { throw thrown; }) == expected);
  CHECK(guarded_value<int>(-7, [&]() -> int { throw thrown; }) == -7);
}

}  // namespace

TEST_CASE("barrier: every class of exception becomes a status and a text of one line") {
  check_barrier(std::bad_alloc(), TIDEGATE_E_NO_MEMORY, "out of memory");
  check_barrier(std::length_error("x"), TIDEGATE_E_NO_MEMORY, "a size exceeds what memory can hold");
  check_barrier(std::runtime_error("first\nsecond"), TIDEGATE_E_INTERNAL, "exception: first");
  check_barrier(std::out_of_range("far"), TIDEGATE_E_INTERNAL, "exception: far");
  check_barrier(NotAnException{}, TIDEGATE_E_INTERNAL, "exception of an unknown type");
  check_barrier(42, TIDEGATE_E_INTERNAL, "exception of an unknown type");
}

TEST_CASE("errors: numbers of a refusal are details, and success clears the error") {
  tidegate_error* err = nullptr;
  const auto refuse = []() -> Result<void> {
    return Error(ErrorCode::queue_full, "the queue is full")
        .with_retry_after(std::chrono::milliseconds(12))
        .with_numbers(512, 500);
  };
  CHECK(guarded(&err, refuse) == TIDEGATE_E_QUEUE_FULL);
  std::size_t length = 0;
  CHECK(std::string(tidegate_error_detail(err, "retry_after_ns", &length)) == "12000000");
  CHECK(length == 8);
  CHECK(std::string(tidegate_error_detail(err, "observed", nullptr)) == "512");
  CHECK(std::string(tidegate_error_detail(err, "limit", nullptr)) == "500");
  CHECK(std::string(tidegate_error_detail(err, "retryable", nullptr)) == "1");
  CHECK(tidegate_error_detail(err, "colour", &length) == nullptr);
  CHECK(length == 0);
  CHECK(tidegate_error_detail(err, nullptr, nullptr) == nullptr);
  tidegate_error_release(err);
  CHECK(guarded(&err, []() -> Result<void> { return {}; }) == TIDEGATE_OK);
  CHECK(err == nullptr);
}

TEST_CASE("json writer: escapes, separators and numbers") {
  JsonWriter json;
  json.open('{').member("a\"b", "c\\\n\x01").key("n").open('[').number(0.1).number(std::uint64_t{7}).close(']');
  json.key("inf").number(1.0 / 0.0).key("empty").open('{').close('}').close('}');
  CHECK(std::move(json).text() == R"({"a\"b":"c\\\u000a\u0001","n":[0.1,7],"inf":null,"empty":{}})");
}

TEST_CASE("completion queue: the descriptor is written once per turn from empty to not empty") {
  const auto queue = make_queue();
  CHECK_FALSE(is_readable(*queue));
  for (std::uint64_t tag = 0; tag < 5; ++tag) queue->push(make_answer(tag));
  std::uint64_t writes = 0;
  REQUIRE(::read(queue->descriptor(), &writes, sizeof writes) == sizeof writes);
  CHECK(writes == 1);
  // The host took the signal itself: the records are there all the same, and what
  // a partial drain leaves is signalled again.
  CHECK(take(*queue, 2) == std::vector<std::uint64_t>{0, 1});
  REQUIRE(::read(queue->descriptor(), &writes, sizeof writes) == sizeof writes);
  CHECK(writes == 1);
  CHECK(take(*queue, 9) == std::vector<std::uint64_t>{2, 3, 4});
  CHECK_FALSE(is_readable(*queue));
  CHECK(take(*queue, 9).empty());
}

TEST_CASE("completion queue: a drain does not swallow a wake-up meant for a wait") {
  const auto queue = make_queue();
  queue->wakeup();
  CHECK(take(*queue, 1).empty());
  CHECK_FALSE(is_readable(*queue));
  CHECK(queue->wait(TIDEGATE_FOREVER) == TIDEGATE_EMPTY);
  queue->push(make_answer(1));
  queue->wakeup();
  CHECK(queue->wait(TIDEGATE_FOREVER) == TIDEGATE_OK);
  CHECK(take(*queue, 1).size() == 1);
  CHECK(queue->wait(TIDEGATE_FOREVER) == TIDEGATE_EMPTY);
  CHECK(queue->wait(0) == TIDEGATE_EMPTY);
}

TEST_CASE("completion queue: readable exactly while records wait, against a plain queue") {
  std::mt19937 random(3);
  const auto queue = make_queue();
  std::deque<std::uint64_t> plain;
  bool woken = false;
  std::uint64_t tag = 0;
  for (int step = 0; step < 20'000; ++step) {
    switch (random() % 8) {
      case 0:
        queue->wakeup();
        woken = true;
        break;
      case 1: {
        const tidegate_status expected = plain.empty() ? TIDEGATE_EMPTY : TIDEGATE_OK;
        CHECK(queue->wait(0) == expected);
        if (plain.empty()) woken = false;
        break;
      }
      case 2:
      case 3: {
        const std::size_t max = 1 + random() % 4;
        std::vector<std::uint64_t> expected;
        while (expected.size() < max && !plain.empty()) {
          expected.push_back(plain.front());
          plain.pop_front();
        }
        CHECK(take(*queue, max) == expected);
        woken = false;
        break;
      }
      default: queue->push(make_answer(tag)); plain.push_back(tag++);
    }
    REQUIRE(is_readable(*queue) == (woken || !plain.empty()));
  }
}

TEST_CASE("completion queue: records of many producers arrive once, in each producer's order") {
  constexpr std::uint64_t kProducers = 4;
  constexpr std::uint64_t kEach = 5'000;
  const auto queue = make_queue();
  std::vector<std::thread> producers;
  for (std::uint64_t p = 0; p < kProducers; ++p) {
    producers.emplace_back([&queue, p] {
      for (std::uint64_t n = 0; n < kEach; ++n) queue->push(make_answer(p << 32 | n));
    });
  }
  std::vector<std::uint64_t> expected(kProducers, 0);
  std::uint64_t total = 0;
  while (total < kProducers * kEach) {
    REQUIRE(queue->wait(TIDEGATE_FOREVER) == TIDEGATE_OK);
    for (const std::uint64_t tag : take(*queue, 64)) {
      CHECK((tag & 0xffffffffU) == expected[tag >> 32]++);
      ++total;
    }
  }
  for (std::thread& producer : producers) producer.join();
  CHECK(take(*queue, 1).empty());
  CHECK_FALSE(is_readable(*queue));
}

TEST_CASE("completion queue: two consumers at once are told apart and lose nothing") {
  const auto queue = make_queue();
  std::atomic<std::uint64_t> taken{0};
  std::atomic<bool> busy_seen{false};
  std::atomic<bool> pushed{false};
  constexpr std::uint64_t kRecords = 20'000;
  const auto consume = [&] {
    // Bounded by work, not by time: a collision is all but certain long before.
    for (int round = 0; (round < 5'000'000 || !pushed || taken < kRecords) && !(busy_seen && taken == kRecords);
         ++round) {
      auto list = queue->drain(3);
      if (!list) {
        CHECK(list.error().code() == ErrorCode::busy);
        busy_seen = true;
        continue;
      }
      for (Answer answer = std::move(*list); answer != nullptr; answer = std::move(answer->next)) ++taken;
    }
  };
  std::thread first(consume);
  std::thread second(consume);
  for (std::uint64_t n = 0; n < kRecords; ++n) queue->push(make_answer(n));
  pushed = true;
  first.join();
  second.join();
  CHECK(busy_seen);
  CHECK(taken == kRecords);
}

TEST_CASE("completion queue: an abandoned queue drops a long list without recursion") {
  const auto queue = make_queue();
  for (std::uint64_t n = 0; n < 200'000; ++n) queue->push(make_answer(n));
  queue->abandon();
  queue->push(make_answer(1));
  CHECK(take(*queue, 1).empty());
}

namespace {

/// A request table beside a plain map that should say the same.
struct TablePair {
  struct Plain {
    const CompletionQueue* queue;
    std::uint64_t tag;
    std::optional<std::uint64_t> engine_id;
  };
  RequestTable table;
  std::array<std::shared_ptr<CompletionQueue>, 2> queues{make_queue(), make_queue()};
  std::unordered_map<std::uint64_t, Plain> plain;
  std::set<std::uint64_t> gone;
  std::uint64_t last_engine_id = 0;

  void begin(std::size_t queue, std::uint64_t tag) {
    const auto begun = table.begin(queues[queue], make_answer(tag));
    REQUIRE(begun);
    REQUIRE(plain.emplace(*begun, Plain{queues[queue].get(), tag, {}}).second);
    REQUIRE_FALSE(gone.contains(*begun));
  }
  void bind(std::uint64_t id) {
    const auto known = plain.find(id);
    if (known == plain.end() || known->second.engine_id) return;
    CHECK_FALSE(table.bind(id, tidegate::RequestId{++last_engine_id}));
    known->second.engine_id = last_engine_id;
  }
  void finish(std::uint64_t id) {
    const auto finished = table.finish(id);
    const auto known = plain.find(id);
    REQUIRE(finished.has_value() == (known != plain.end()));
    if (!finished) return;
    CHECK(finished->queue.get() == known->second.queue);
    CHECK(finished->answer->tag == known->second.tag);
    CHECK(finished->answer->id == id);
    forget(id);
  }
  void cancel_and_abandon(std::uint64_t id) {
    const auto known = plain.find(id);
    // A cancel before bind has its own test.
    if (known != plain.end() && !known->second.engine_id) return;
    const auto target = table.cancel(id);
    REQUIRE(target.known == (known != plain.end()));
    if (!target.known) return;
    CHECK(target.engine_id == tidegate::RequestId{*known->second.engine_id});
    table.abandon(id);
    forget(id);
  }
  void compare_ids() {
    std::set<std::uint64_t> expected;
    for (const auto& [id, value] : plain) {
      if (value.queue == queues[0].get()) expected.insert(id);
    }
    const auto found = table.ids(queues[0].get());
    CHECK(std::set<std::uint64_t>(found.begin(), found.end()) == expected);
    CHECK(table.counts().in_flight == plain.size());
  }
  void forget(std::uint64_t id) {
    plain.erase(id);
    gone.insert(id);
  }
};

}  // namespace

TEST_CASE("request table: agrees with a plain map, and old ids never come back") {
  std::mt19937 random(5);
  TablePair pair;
  for (std::uint64_t step = 0; step < 30'000; ++step) {
    std::uint64_t id = pair.gone.empty() ? 99 : *pair.gone.begin();
    if (!pair.plain.empty() && random() % 4 != 0) {
      id = std::next(pair.plain.begin(), static_cast<long>(random() % pair.plain.size()))->first;
    }
    switch (random() % 6) {
      case 0:
      case 1: pair.begin(random() % 2, step); break;
      case 2: pair.bind(id); break;
      case 3: pair.finish(id); break;
      case 4: pair.cancel_and_abandon(id); break;
      default: pair.compare_ids();
    }
  }
  pair.compare_ids();
}

TEST_CASE("request table: a cancel before the engine's id is known is left to the submitter") {
  RequestTable table;
  const auto queue = make_queue();
  const auto id = table.begin(queue, make_answer(1));
  REQUIRE(id);
  const auto target = table.cancel(*id);
  CHECK(target.known);
  CHECK_FALSE(target.engine_id);
  CHECK(table.bind(*id, tidegate::RequestId{7}));
  CHECK(table.finish(*id));
  CHECK_FALSE(table.finish(*id));
  CHECK_FALSE(table.cancel(*id).known);
  // Completed before the engine's id arrived: nothing is left to bind.
  const auto quick = table.begin(queue, make_answer(2));
  REQUIRE(quick);
  CHECK(*quick != *id);
  CHECK(table.finish(*quick));
  CHECK_FALSE(table.bind(*quick, tidegate::RequestId{8}));
  queue->close();
  CHECK(table.begin(queue, make_answer(3)).error().code() == ErrorCode::shutting_down);
}
