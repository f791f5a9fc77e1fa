#include "metrics/registry.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <cmath>
#include <thread>

using namespace tidegate;

TEST_CASE("registry: one name and one set of labels is one series, whatever their order") {
  Registry registry;
  Counter& a = registry.counter("hits_total", "Hits.", {{"tier", "l1"}, {"model", "m"}});
  Counter& b = registry.counter("hits_total", "Hits.", {{"model", "m"}, {"tier", "l1"}});
  CHECK(&a == &b);
  CHECK(&registry.counter("hits_total", "Hits.", {{"tier", "l2"}}) != &a);
  CHECK(&registry.histogram("wait_seconds", "Wait.") == &registry.histogram("wait_seconds", "Wait."));
}

TEST_CASE("snapshot: value sums the series whose labels include the wanted ones") {
  Registry registry;
  registry.counter("hits_total", "Hits.", {{"tier", "l1"}, {"model", "a"}}).add(3);
  registry.counter("hits_total", "Hits.", {{"tier", "l1"}, {"model", "b"}}).add(4);
  registry.counter("hits_total", "Hits.", {{"tier", "l2"}, {"model", "a"}}).add(5);
  registry.histogram("wait_seconds", "Wait.").record(9.0);
  const MetricsSnapshot snapshot = registry.snapshot();
  CHECK(snapshot.value("hits_total") == 12.0);
  CHECK(snapshot.value("hits_total", {{"tier", "l1"}}) == 7.0);
  CHECK(snapshot.value("hits_total", {{"model", "a"}, {"tier", "l2"}}) == 5.0);
  CHECK(snapshot.value("hits_total", {{"tier", "l3"}}) == 0.0);
  CHECK(snapshot.value("wait_seconds") == 0.0);
  CHECK(snapshot.value("unknown") == 0.0);
}

TEST_CASE("snapshot: a quantile without observations is NaN") {
  Registry registry;
  registry.histogram("wait_seconds", "Wait.");
  const MetricsSnapshot snapshot = registry.snapshot();
  CHECK(std::isnan(snapshot.quantile("wait_seconds", 0.5)));
  CHECK(std::isnan(snapshot.quantile("unknown", 0.5)));
}

TEST_CASE("snapshot: a quantile interpolates inside its bucket and clamps q") {
  MetricSample sample{"s", "", MetricKind::histogram, {}, 0.0, 10, {{1.0, 0}, {2.0, 4}, {4.0, 10}}};
  const MetricsSnapshot snapshot{{sample}};
  CHECK(snapshot.quantile("s", 0.2) == doctest::Approx(1.5));
  CHECK(snapshot.quantile("s", 0.7) == doctest::Approx(3.0));
  CHECK(snapshot.quantile("s", 7.0) == doctest::Approx(4.0));
  CHECK(snapshot.quantile("s", -1.0) == doctest::Approx(1.0));
  CHECK(std::isnan(snapshot.quantile("s", std::nan(""))));
}

TEST_CASE("snapshot: a quantile beyond the last bound answers that bound") {
  const MetricsSnapshot snapshot{{MetricSample{"s", "", MetricKind::histogram, {}, 0.0, 10, {{1.0, 1}}}}};
  CHECK(snapshot.quantile("s", 0.9) == 1.0);
}

TEST_CASE("registry: collectors run at every snapshot, outside the registry's lock") {
  Registry registry;
  int calls = 0;
  registry.add_collector([&](std::vector<MetricSample>& out) {
    ++calls;
    out.push_back({"depth", "Depth.", MetricKind::gauge, {}, 2.0 * calls});
  });
  CHECK(registry.snapshot().value("depth") == 2.0);
  CHECK(registry.snapshot().value("depth") == 4.0);
}

TEST_CASE("registry: nothing is lost when many threads write, create and read at once") {
  constexpr int kThreads = 8;
  constexpr int kRounds = 4000;
  Registry registry;
  std::atomic<bool> stop{false};
  std::thread reader([&] {
    double last = 0;
    while (!stop.load()) {
      const MetricsSnapshot snapshot = registry.snapshot();
      const double now = snapshot.value("work_total");
      CHECK(now >= last);
      last = now;
      for (const MetricSample& sample : snapshot.samples) {
        if (!sample.buckets.empty()) CHECK(sample.buckets.back().second <= sample.count);
      }
    }
  });
  std::vector<std::thread> writers;
  for (int t = 0; t < kThreads; ++t) {
    writers.emplace_back([&, t] {
      for (int i = 0; i < kRounds; ++i) {
        registry.counter("work_total", "Work.", {{"part", std::to_string((t + i) % 5)}}).add(2);
        registry.histogram("work_seconds", "Work.").record(0.5);
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  stop = true;
  reader.join();
  const MetricsSnapshot snapshot = registry.snapshot();
  CHECK(snapshot.value("work_total") == 2.0 * kThreads * kRounds);
  for (const MetricSample& sample : snapshot.samples) {
    if (sample.name != "work_seconds") continue;
    CHECK(sample.count == kThreads * kRounds);
    CHECK(sample.value == 0.5 * kThreads * kRounds);
  }
}
