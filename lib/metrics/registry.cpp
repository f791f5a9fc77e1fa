#include "metrics/registry.hpp"

#include <algorithm>
#include <cassert>
#include <map>
#include <tuple>

#include "base/mutex.hpp"
#include "metrics/log_linear_histogram.hpp"
#include "metrics/striped_counter.hpp"

namespace tidegate {
namespace {

template <class Series>
using SeriesMap = std::map<MetricLabels, std::unique_ptr<Series>>;

/// All series of one name. Only the map of `kind` is exported; the other serves a
/// caller that asked for the wrong kind in a build without asserts.
struct Family {
  std::string help;
  MetricKind kind = MetricKind::counter;
  SeriesMap<StripedCounter> counters;
  SeriesMap<LogLinearHistogram> histograms;
};

MetricLabels sorted(MetricLabels labels) {
  std::sort(labels.begin(), labels.end());
  return labels;
}

template <class Series>
Series& series_of(SeriesMap<Series>& map, const MetricLabels& labels) {
  auto& slot = map[sorted(labels)];
  if (!slot) slot = std::make_unique<Series>();
  return *slot;
}

MetricSample sample_of(const std::string& name, const Family& family, const MetricLabels& labels) {
  MetricSample sample;
  sample.name = name;
  sample.help = family.help;
  sample.kind = family.kind;
  sample.labels = labels;
  return sample;
}

}  // namespace

struct Registry::State {
  using Collector = std::function<void(std::vector<MetricSample>&)>;

  Family& family(const std::string& name, const std::string& help, MetricKind kind) TIDEGATE_REQUIRES(mutex) {
    const auto [it, added] = families.try_emplace(name);
    if (added) {
      it->second.help = help;
      it->second.kind = kind;
    }
    assert(it->second.kind == kind && "one metric name, two kinds");
    return it->second;
  }

  mutable Mutex mutex;  // leaf; never held while a collector runs
  std::map<std::string, Family> families TIDEGATE_GUARDED_BY(mutex);
  // Shared, so that a snapshot can run them after it has let go of the mutex.
  std::vector<std::shared_ptr<const Collector>> collectors TIDEGATE_GUARDED_BY(mutex);
};

Registry::Registry() : state_(std::make_unique<State>()) {}
Registry::~Registry() = default;

Counter& Registry::counter(const std::string& name, const std::string& help, const MetricLabels& labels) {
  const MutexLock lock(state_->mutex);
  return series_of(state_->family(name, help, MetricKind::counter).counters, labels);
}

Histogram& Registry::histogram(const std::string& name, const std::string& help, const MetricLabels& labels) {
  const MutexLock lock(state_->mutex);
  return series_of(state_->family(name, help, MetricKind::histogram).histograms, labels);
}

void Registry::add_collector(std::function<void(std::vector<MetricSample>&)> collect) {
  auto shared = std::make_shared<const State::Collector>(std::move(collect));
  const MutexLock lock(state_->mutex);
  state_->collectors.push_back(std::move(shared));
}

MetricsSnapshot Registry::snapshot() const {
  MetricsSnapshot snapshot;
  std::vector<std::shared_ptr<const State::Collector>> collectors;
  {
    const MutexLock lock(state_->mutex);
    collectors = state_->collectors;
    for (const auto& [name, family] : state_->families) {
      if (family.kind == MetricKind::histogram) {
        for (const auto& [labels, series] : family.histograms) {
          series->read_into(snapshot.samples.emplace_back(sample_of(name, family, labels)));
        }
      } else {
        for (const auto& [labels, series] : family.counters) {
          snapshot.samples.emplace_back(sample_of(name, family, labels)).value = static_cast<double>(series->total());
        }
      }
    }
  }
  for (const auto& collect : collectors) (*collect)(snapshot.samples);
  std::stable_sort(snapshot.samples.begin(), snapshot.samples.end(), [](const auto& a, const auto& b) {
    return std::tie(a.name, a.labels) < std::tie(b.name, b.labels);
  });
  return snapshot;
}

}  // namespace tidegate
