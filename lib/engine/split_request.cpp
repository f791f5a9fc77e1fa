#include "engine/split_request.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/try.hpp"
#include "engine/guarded_call.hpp"
#include "engine/work.hpp"
#include "queue/batch_caps.hpp"

namespace tidegate {
namespace {

/// The least number of parts that could do.
std::uint64_t least_parts(const ItemSize& size, const ItemSize& limit) noexcept {
  const auto parts = [](std::uint64_t have, std::uint64_t most) { return have / most + (have % most == 0 ? 0 : 1); };
  return std::max({parts(size.rows, limit.rows), parts(size.tokens, limit.tokens), parts(size.bytes, limit.bytes)});
}

/// Which cap was broken, and why splitting is no way out.
Error explain(const Error& cap, const Error& why) {
  return Error(ErrorCode::too_large, fmt::format("{}, and {}", cap.message(), why.message()))
      .with_numbers(cap.observed(), cap.limit());
}

Result<std::vector<PreparedInput>> split_or_throw(ModelRunner& runner, const PreparedInput& input,
                                                  const BatchingOptions& batching, const AdmissionOptions& admission) {
  const auto whole = check_batch_caps(input.size, batching);
  if (whole) return std::vector<PreparedInput>();
  const ItemSize limit = batch_limit(batching);
  // Before parts are made, so that nobody makes more than the queue could ever hold.
  TIDEGATE_CHECK(check_queue_caps(input.size, least_parts(input.size, limit), admission));
  auto parts = guarded_split(runner, input, limit);
  if (!parts && parts.error().code() == ErrorCode::too_large) return explain(whole.error(), parts.error());
  if (!parts) return parts;
  if (parts->empty()) return Error(ErrorCode::backend_failed, "the model split a request into no parts");
  for (const PreparedInput& part : *parts) {
    const auto fits = check_batch_caps(part.size, batching);
    if (fits) continue;
    return Error(
        ErrorCode::backend_failed,
        fmt::format("the model split a request into parts of which one is too large: {}", fits.error().text()));
  }
  return parts;
}

/// When the first part began and the last one ended, and where.
void set_times(Work& whole, const std::vector<Work*>& parts) noexcept {
  TimePoint formed = TimePoint::max();
  TimePoint start = TimePoint::max();
  TimePoint end = TimePoint::min();
  for (const Work* part : parts) {
    formed = std::min(formed, part->formed);
    start = std::min(start, part->formed + part->dispatch);
    end = std::max(end, part->formed + part->dispatch + part->run);
    whole.batch_size = std::max(whole.batch_size, part->batch_size);
  }
  whole.formed = formed;
  whole.dispatch = start - formed;
  whole.run = end - start;
  whole.replica = parts.front()->replica;
  whole.parts_count = static_cast<std::uint32_t>(parts.size());
}

}  // namespace

Result<std::vector<PreparedInput>> split_oversized(ModelRunner& runner, const PreparedInput& input,
                                                   const BatchingOptions& batching,
                                                   const AdmissionOptions& admission) noexcept {
  try {
    return split_or_throw(runner, input, batching, admission);
  } catch (...) {
    return thrown_on_the_way();
  }
}

bool part_ran(Work& part, ModelRunner& runner) noexcept {
  Work& whole = *part.whole;
  PartsOfWork& shared = *whole.in_parts;
  if (!part.output) shared.failed.store(true, std::memory_order_relaxed);
  if (shared.left.fetch_sub(1, std::memory_order_acq_rel) != 1) return false;
  if (shared.failed.load(std::memory_order_relaxed)) return false;
  set_times(whole, shared.parts);
  try {
    std::vector<std::vector<Tensor>> outputs;
    outputs.reserve(shared.parts.size());
    for (const Work* one : shared.parts) outputs.push_back(*one->output);
    whole.output = guarded_join(runner, std::move(outputs));
  } catch (...) {
    whole.output = thrown_on_the_way();
  }
  return true;
}

}  // namespace tidegate
