#include "simulator/queue_host.hpp"

#include <algorithm>
#include <array>

namespace tidegate {
namespace {

/// Away from the earliest moment there is, so that ages never underflow.
constexpr TimePoint kStart{std::chrono::hours(1)};
constexpr std::size_t kProgressEvery = 4096;

Duration quantile(std::vector<Duration>& sorted, double q) {
  if (sorted.empty()) return Duration::zero();
  const auto rank = static_cast<std::size_t>(q * static_cast<double>(sorted.size() - 1) + 0.5);
  return sorted[rank];
}

}  // namespace

QueueHost::QueueHost(std::span<const QueueArrival> trace, const QueueReplayOptions& options)
    : trace_(trace),
      options_(options),
      core_(options.batching, options.admission, options.slots, options.layout),
      fleet_(options, kStart, trace.empty() ? kStart : kStart + trace.front().at),
      now_(kStart),
      requests_(trace.size()),
      random_(options.seed) {}

QueueReplay QueueHost::run() {
  std::size_t next = 0;
  for (;;) {
    const TimePoint arrival = next < trace_.size() ? kStart + trace_[next].at : kNoDeadline;
    const TimePoint end = running_.empty() ? kNoDeadline : running_.top().end;
    // With nothing to come only deadlines that nobody waits for could still pass.
    if (arrival == kNoDeadline && end == kNoDeadline && core_.stats().waiters == 0) break;
    const TimePoint wake = core_.next_wake();
    const TimePoint change = fleet_.next_event();
    if (end <= std::min({arrival, wake, change})) {
      const Running done = running_.top();
      running_.pop();
      now_ = std::max(now_, done.end);
      busy_ += done.time;
      core_.batch_done(now_, done.id);
    } else if (wake <= std::min(arrival, change)) {
      now_ = std::max(now_, wake);
      core_.advance(now_);
    } else if (change <= arrival) {
      now_ = std::max(now_, change);
      scale();
    } else {
      now_ = std::max(now_, arrival);
      if (options_.progress && next % kProgressEvery == 0) {
        options_.progress(static_cast<double>(next) / static_cast<double>(trace_.size()));
      }
      arrive(next++);
    }
    follow();
  }
  finish_report();
  return std::move(report_);
}

void QueueHost::arrive(std::size_t i) {
  const QueueArrival& arrival = trace_[i];
  ++report_.requests;
  Submission submission;
  submission.waiter = submission.work = &requests_[i];
  submission.size = {1, arrival.tokens, 0};
  submission.deadline = arrival.deadline > kNoDeadline - now_ ? kNoDeadline : now_ + arrival.deadline;
  submission.priority = arrival.priority;
  submission.tenant = arrival.tenant;
  if (!core_.submit(now_, submission)) {
    ++report_.refused;
    last_end_ = now_;
  }
}

void QueueHost::scale() {
  if (fleet_.is_decision_due(now_)) fleet_.decide(now_, core_.load(now_));
  core_.set_slots(now_, static_cast<std::uint32_t>(fleet_.ready(now_)) * options_.slots);
}

void QueueHost::follow() {
  const Commands commands = core_.take_commands();
  for (const Complete& complete : commands.complete) end(complete);
  for (const RunBatch& batch : commands.run) start(batch);
}

std::size_t QueueHost::index_of(const void* waiter) const noexcept {
  return static_cast<std::size_t>(static_cast<const Request*>(waiter) - requests_.data());
}

void QueueHost::end(const Complete& complete) {
  last_end_ = now_;
  switch (complete.outcome) {
    case Outcome::answered: break;
    case Outcome::deadline_exceeded:
    case Outcome::would_miss: ++report_.expired; return;
    default: ++report_.dropped; return;
  }
  const std::size_t i = index_of(complete.waiter);
  const TimePoint arrived = kStart + trace_[i].at;
  ++report_.answered;
  if (now_ - arrived <= trace_[i].deadline) ++report_.in_time;
  if (options_.slo > Duration::zero() && now_ - arrived <= options_.slo) ++report_.within_slo;
  waits_.push_back(requests_[i].started - arrived);
  totals_.push_back(now_ - arrived);
}

void QueueHost::start(const RunBatch& batch) {
  BatchShape shape;
  for (void* work : batch.works) {
    static_cast<Request*>(work)->started = batch.formed;
    shape.add({1, trace_[index_of(work)].tokens, 0});
  }
  ++report_.batches;
  report_.batched_items += batch.works.size();
  const Duration time = service_time(shape);
  running_.push({now_ + time, report_.batches, batch.id, time});
}

Duration QueueHost::service_time(const BatchShape& shape) {
  const double mean =
      static_cast<double>(options_.service
                              .predict(static_cast<double>(shape.rows), shape.computed_tokens(options_.layout),
                                       shape.computed_squares(options_.layout))
                              .mean.count());
  const double ratio = options_.seed == 0 ? 1.0 : drawn_ratio();
  constexpr double kLongest = 1e15;
  return Duration(static_cast<Duration::rep>(std::clamp(mean * ratio, 1.0, kLongest)));
}

/// Straight lines between the quantiles that are known; half of the batches are faster
/// than the mean by as much as the others up to the 95th percentile are slower.
double QueueHost::drawn_ratio() {
  const double tail95 = std::max(1.0, options_.service.tail95);
  const double tail99 = std::max(tail95, options_.service.tail99);
  const double fastest = std::max(0.1, 2 - tail95);
  const std::array<std::pair<double, double>, 5> points{
      std::pair{0.0, fastest}, {0.5, 1.0}, {0.95, tail95}, {0.99, tail99}, {1.0, tail99}};
  constexpr double kUnit = 0x1p-53;
  const double drawn = static_cast<double>(random_() >> 11) * kUnit;
  std::size_t i = 1;
  while (drawn > points[i].first) ++i;
  const auto [from, low] = points[i - 1];
  const auto [to, high] = points[i];
  return low + (high - low) * (drawn - from) / (to - from);
}

void QueueHost::finish_report() {
  if (options_.progress) options_.progress(1.0);
  if (!trace_.empty()) report_.span = std::max(Duration::zero(), Duration(last_end_ - (kStart + trace_.front().at)));
  std::sort(waits_.begin(), waits_.end());
  std::sort(totals_.begin(), totals_.end());
  constexpr double kHalf = 0.5;
  constexpr double kTail = 0.99;
  report_.wait_p50 = quantile(waits_, kHalf);
  report_.wait_p99 = quantile(waits_, kTail);
  report_.total_p50 = quantile(totals_, kHalf);
  report_.total_p99 = quantile(totals_, kTail);
  std::move(fleet_).report(last_end_, report_);
  const double room = report_.replica_seconds * options_.slots;
  if (room > 0) report_.busy = std::min(1.0, std::chrono::duration<double>(busy_).count() / room);
  report_.decisions = core_.decisions();
}

}  // namespace tidegate
