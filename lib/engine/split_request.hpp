// Requests that are larger than a batch: their input in parts, their answer from those of the parts.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "tidegate/queue.hpp"
#include "tidegate/runner.hpp"

namespace tidegate {

struct Work;

/// What the work of a split request has besides: the works of its parts.
struct PartsOfWork {
  std::vector<Work*> parts;  ///< in order; held by the whole until the scheduler retires it
  /// Parts that have not run. Whoever brings it to zero joins, so his step acquires what
  /// the others released before theirs.
  std::atomic<std::uint32_t> left{0};
  std::atomic<bool> failed{false};  ///< relaxed: `left` orders it
};

/// Nothing where the input fits a batch, else its parts. Errors: too_large (which cap, and why
/// the model cannot help it); backend_failed, out_of_memory (the runner threw, or its parts
/// do not fit either).
[[nodiscard]] Result<std::vector<PreparedInput>> split_oversized(ModelRunner& runner, const PreparedInput& input,
                                                                 const BatchingOptions& batching,
                                                                 const AdmissionOptions& admission) noexcept;

/// A part has run on `runner` and has its output. Where it is the last one, and none has failed, the whole
/// has its own from now on: true.
[[nodiscard]] bool part_ran(Work& part, ModelRunner& runner) noexcept;

}  // namespace tidegate
