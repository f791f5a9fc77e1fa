// Registry: counters, gauges and histograms by name and labels.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tidegate/metrics.hpp"

namespace tidegate {

/// Only goes up. Adding is one relaxed atomic on a stripe of the caller's thread.
class Counter {
 public:
  virtual ~Counter() = default;
  virtual void add(std::uint64_t amount = 1) noexcept = 0;
};

/// Log-linear histogram (16 sub-buckets per power of two: at most 6.25 % relative
/// error) of non-negative values; mergeable. Recording takes no lock.
class Histogram {
 public:
  virtual ~Histogram() = default;
  /// `value` in the metric's base unit (seconds, bytes, items); negative or NaN counts as 0.
  virtual void record(double value) noexcept = 0;
};

/// Owns its series; references stay valid for the registry's life. Thread-safe.
class Registry {
 public:
  Registry();
  ~Registry();

  /// The series of this name and labels, made on first use. One name has one kind
  /// and help text; asking for it as another kind is a defect (assert).
  Counter& counter(const std::string& name, const std::string& help, const MetricLabels& labels = {});
  Histogram& histogram(const std::string& name, const std::string& help, const MetricLabels& labels = {});

  /// Called at every snapshot, on its thread, for values that live elsewhere
  /// (queue depth, bytes held). Must not call the registry.
  void add_collector(std::function<void(std::vector<MetricSample>&)> collect);

  [[nodiscard]] MetricsSnapshot snapshot() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tidegate
