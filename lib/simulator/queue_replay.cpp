// The checks in front of a replay of the queue.
#include <fmt/format.h>

#include "base/try.hpp"
#include "simulator/queue_host.hpp"

namespace tidegate {
namespace {

Result<void> check(std::span<const QueueArrival> trace, const QueueReplayOptions& options) {
  const auto refuse = [](std::string_view what) { return Error(ErrorCode::invalid_argument, std::string(what)); };
  if (options.slots == 0) return refuse("slots is 0; it must be at least 1");
  if (options.batching.max_batch_size == 0 || options.batching.max_batch_tokens == 0) {
    return refuse("max_batch_size and max_batch_tokens must be at least 1");
  }
  if (options.scaling_interval <= Duration::zero()) return refuse("scaling_interval must be above zero");
  if (options.replica_start < Duration::zero()) return refuse("replica_start must be zero or more");
  if (options.slo < Duration::zero()) return refuse("slo must be zero (none) or more");
  const LatencyProfile& service = options.service;
  for (const double cost : {service.base_ns, service.per_token_ns, service.per_square_ns, service.per_row_ns}) {
    if (!(cost >= 0)) return refuse("the service time's coefficients must be zero or more");
  }
  if (service.predict(1, 1, 1).mean <= Duration::zero()) {
    return refuse("the service time is zero; give its base, per_token, per_square or per_row");
  }
  for (std::size_t i = 1; i < trace.size(); ++i) {
    if (trace[i].at < trace[i - 1].at) {
      return Error(ErrorCode::invalid_argument, fmt::format("request {} arrives before request {}", i + 1, i));
    }
  }
  return {};
}

}  // namespace

Result<QueueReplay> replay_queue(std::span<const QueueArrival> trace, const QueueReplayOptions& options) {
  TIDEGATE_CHECK(check(trace, options));
  return QueueHost(trace, options).run();
}

}  // namespace tidegate
