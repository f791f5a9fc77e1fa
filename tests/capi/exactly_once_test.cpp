// Every accepted submit is drained once, whatever else happens: cancels, deadlines,
// failures, inline answers, closing queues, drain and shutdown, from several threads.
#include <atomic>
#include <random>
#include <stdexcept>
#include <thread>

#include "c_api.hpp"

using namespace capi_test;

namespace {

constexpr int kThreads = 3;
constexpr std::uint64_t kEach = 1'500;

enum class Ending { complete, shutdown, close };

/// What became of each tag; a tag is written by its submitter and its consumer.
struct Ledger {
  std::vector<std::atomic<std::uint8_t>> accepted = std::vector<std::atomic<std::uint8_t>>(kThreads * kEach);
  std::vector<std::atomic<std::uint8_t>> ended = std::vector<std::atomic<std::uint8_t>>(kThreads * kEach);
  std::atomic<std::uint64_t> wrong_records{0};
  std::atomic<std::uint64_t> records{0};
  std::atomic<int> producers_done{0};
};

void take(const tidegate_completion& record, Ledger& ledger) {
  ledger.ended[record.tag].fetch_add(1);
  ledger.records.fetch_add(1);
  const bool answered = record.status == TIDEGATE_OK && record.result != nullptr && record.error == nullptr;
  const bool failed = record.status < 0 && record.result == nullptr && record.error != nullptr &&
                      tidegate_error_code(record.error) == record.status;
  if (!answered && !failed) ledger.wrong_records.fetch_add(1);
  release(record);
}

void consume(const Queue& cq, Ledger& ledger, const std::atomic<bool>& stop) {
  std::vector<tidegate_completion> records(16);
  for (;;) {
    const bool last = stop.load();
    std::size_t count = 0;
    while (tidegate_cq_drain(cq.get(), records.data(), sizeof records[0], records.size(), &count) == TIDEGATE_OK) {
      for (std::size_t i = 0; i < count; ++i) take(records[i], ledger);
    }
    if (last) return;
    (void)tidegate_cq_wait(cq.get(), TIDEGATE_FOREVER);
  }
}

void produce(const Runtime& runtime, const Queue& cq, Ledger& ledger, unsigned seed, std::uint64_t first) {
  std::mt19937 random(seed);
  std::vector<std::uint64_t> ids;
  for (std::uint64_t tag = first; tag < first + kEach; ++tag) {
    auto options = initialised<tidegate_request_options>();
    if (random() % 4 == 0) options.timeout_ns = 1 + static_cast<std::int64_t>(random() % 200'000);
    if (random() % 3 == 0) options.flags = TIDEGATE_MAY_COMPLETE_INLINE;
    options.cache = static_cast<tidegate_cache_mode>(random() % 4);
    const std::string text = "text " + std::to_string(random() % 300);
    std::uint64_t id = 0;
    tidegate_result* result = nullptr;
    const tidegate_status status = tidegate_submit_text(runtime.get(), nullptr, text.data(), text.size(), &options,
                                                        cq.get(), tag, &id, &result, nullptr);
    if (status == TIDEGATE_OK) {
      ledger.accepted[tag].store(1);
      ids.push_back(id);
    }
    if ((status == TIDEGATE_DONE) != (result != nullptr) || (status == TIDEGATE_OK) != (id != 0)) {
      ledger.wrong_records.fetch_add(1);
    }
    tidegate_result_release(result);
    if (!ids.empty() && random() % 3 == 0) (void)tidegate_cancel(runtime.get(), ids[random() % ids.size()]);
  }
  ledger.producers_done.fetch_add(1);
}

/// A model that fails an item now and then and throws now and then, by the text.
tidegate_status run_badly(tidegate_batch* batch) {
  for (std::uint32_t i = 0; i < tidegate_batch_size(batch); ++i) {
    const std::string text = tidegate_batch_text(batch, i, nullptr);
    if (text.ends_with("7")) {
      (void)tidegate_batch_fail(batch, i, TIDEGATE_E_BACKEND, "no sevens", TIDEGATE_NUL);
    } else if (text.ends_with("13")) {
      throw std::runtime_error("thirteen");
    } else if (!text.ends_with("29")) {
      answer_length(batch, i);
    }
  }
  return TIDEGATE_OK;
}

void play(Ending ending, unsigned seed) {
  Gate destroyed;
  HostModel model{run_badly, [&] { destroyed.open(); }};
  Runtime runtime = make_runtime(R"({"cache.memory.capacity_bytes": 65536})");
  REQUIRE(add_host(runtime, model,
                   R"({"fingerprint": "v1", "replica.concurrency": 2, "batching.max_batch_size": 4,
                       "admission.max_queued_items": 64})") == TIDEGATE_OK);
  const Queue queues[2] = {make_queue(runtime), make_queue(runtime)};
  Ledger ledger;
  std::atomic<bool> stop{false};
  std::vector<std::thread> consumers;
  for (const Queue& cq : queues) consumers.emplace_back([&] { consume(cq, ledger, stop); });
  std::vector<std::thread> producers;
  for (int n = 0; n < kThreads; ++n) {
    producers.emplace_back([&, n] {
      produce(runtime, queues[n % 2], ledger, seed + static_cast<unsigned>(n), static_cast<std::uint64_t>(n) * kEach);
    });
  }
  if (ending == Ending::shutdown) {
    // After some records have gone through, in the middle of the rest.
    while (ledger.records.load() < kEach / 8 && ledger.producers_done.load() < kThreads) std::this_thread::yield();
    CHECK(tidegate_runtime_shutdown(runtime.get(), 1'000'000, nullptr) <= TIDEGATE_OK);
  }
  if (ending == Ending::close) CHECK(tidegate_cq_close(queues[1].get()) == TIDEGATE_OK);
  for (std::thread& producer : producers) producer.join();
  CHECK(tidegate_runtime_shutdown(runtime.get(), TIDEGATE_FOREVER, nullptr) == TIDEGATE_OK);
  stop.store(true);
  for (const Queue& cq : queues) (void)tidegate_cq_wakeup(cq.get());
  for (std::thread& consumer : consumers) consumer.join();
  std::uint64_t accepted = 0;
  std::uint64_t unequal = 0;
  for (std::size_t tag = 0; tag < ledger.accepted.size(); ++tag) {
    accepted += ledger.accepted[tag].load();
    if (ledger.accepted[tag].load() != ledger.ended[tag].load()) ++unequal;
  }
  CHECK(unequal == 0);
  CHECK(ledger.wrong_records.load() == 0);
  CHECK(accepted > 0);
  runtime.reset();
  destroyed.pass();  // a batch that the shutdown's bound has cut off may end after it
}

}  // namespace

TEST_CASE("exactly once: under random cancels, deadlines and failures") {
  for (unsigned seed = 1; seed <= 4; ++seed) play(Ending::complete, seed);
}

TEST_CASE("exactly once: when the runtime is shut down in the middle") {
  for (unsigned seed = 11; seed <= 18; ++seed) play(Ending::shutdown, seed);
}

TEST_CASE("exactly once: when one of two queues is closed in the middle") {
  for (unsigned seed = 21; seed <= 28; ++seed) play(Ending::close, seed);
}
