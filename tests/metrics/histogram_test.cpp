#include "metrics/log_linear_histogram.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

using namespace tidegate;

namespace {

MetricSample read(const LogLinearHistogram& histogram) {
  MetricSample sample;
  sample.name = "seconds";
  sample.kind = MetricKind::histogram;
  histogram.read_into(sample);
  return sample;
}

}  // namespace

TEST_CASE("histogram: every finite bucket holds its upper bound and not its lower one") {
  for (std::size_t i = 1; i < LogLinearHistogram::kFinite; ++i) {
    const double lower = LogLinearHistogram::bound(i - 1);
    const double upper = LogLinearHistogram::bound(i);
    REQUIRE(lower < upper);
    REQUIRE((upper - lower) / lower <= 0.0625);
    REQUIRE(LogLinearHistogram::bucket_of(upper) == i);
    REQUIRE(LogLinearHistogram::bucket_of(std::nextafter(lower, upper)) == i);
    REQUIRE(LogLinearHistogram::bucket_of(lower) == i - 1);
  }
}

TEST_CASE("histogram: zero, negative, NaN, tiny and huge values are counted and end nowhere else") {
  LogLinearHistogram histogram;
  histogram.record(0.0);
  histogram.record(-3.0);
  histogram.record(std::numeric_limits<double>::quiet_NaN());
  histogram.record(std::numeric_limits<double>::denorm_min());
  histogram.record(std::numeric_limits<double>::max());
  const MetricSample sample = read(histogram);
  CHECK(sample.count == 5);
  CHECK(sample.value == std::numeric_limits<double>::max());
  REQUIRE(sample.buckets.size() == 2);
  CHECK(sample.buckets.front().second == 4);
  CHECK(sample.buckets.back().second == 4);
}

TEST_CASE("histogram: quantiles stay within a sixteenth of the sorted data") {
  std::mt19937_64 random(7);
  std::lognormal_distribution<double> spread(-5.0, 2.0);
  std::exponential_distribution<double> tail(3.0);
  for (const bool heavy : {true, false}) {
    LogLinearHistogram histogram;
    std::vector<double> data;
    for (int i = 0; i < 20000; ++i) {
      data.push_back(heavy ? spread(random) : tail(random));
      histogram.record(data.back());
    }
    std::sort(data.begin(), data.end());
    const MetricsSnapshot snapshot{{read(histogram)}};
    for (const double q : {0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1.0}) {
      const double exact = data[static_cast<std::size_t>(std::ceil(q * 20000.0)) - 1];
      CAPTURE(q);
      CHECK(std::abs(snapshot.quantile("seconds", q) - exact) / exact <= 0.0625);
    }
  }
}

TEST_CASE("histogram: merging series in a snapshot equals recording into one") {
  std::mt19937_64 random(11);
  std::lognormal_distribution<double> spread(0.0, 3.0);
  LogLinearHistogram all;
  LogLinearHistogram parts[3];
  for (int i = 0; i < 5000; ++i) {
    const double value = spread(random);
    all.record(value);
    parts[i % 3].record(value);
  }
  MetricsSnapshot merged;
  for (const LogLinearHistogram& part : parts) merged.samples.push_back(read(part));
  const MetricsSnapshot whole{{read(all)}};
  for (double q = 0.0; q <= 1.0; q += 0.01) {
    CHECK(merged.quantile("seconds", q) == doctest::Approx(whole.quantile("seconds", q)).epsilon(1e-12));
  }
}

TEST_CASE("histogram: the listed buckets are ascending, cumulative and end at the finite count") {
  LogLinearHistogram histogram;
  for (const double value : {1e-3, 1.1e-3, 5.0, 5.1, 1e6, 1e300}) histogram.record(value);
  const MetricSample sample = read(histogram);
  for (std::size_t i = 1; i < sample.buckets.size(); ++i) {
    CHECK(sample.buckets[i - 1].first < sample.buckets[i].first);
    CHECK(sample.buckets[i - 1].second <= sample.buckets[i].second);
  }
  CHECK(sample.buckets.back().second == 5);
  CHECK(sample.count == 6);
}
