// Simulator: runs the objects that run live on recorded or made-up inputs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tidegate/cache.hpp"
#include "tidegate/queue.hpp"
#include "tidegate/result.hpp"
#include "tidegate/runner.hpp"
#include "tidegate/scaling.hpp"

namespace tidegate {

/// A case whose result differs from what its file expects: the first difference.
struct CaseFailure {
  std::string id;
  std::string kind;
  std::string field;
  std::string expected;
  std::string got;
};

struct CaseReport {
  std::size_t total = 0;
  std::vector<CaseFailure> failures;  ///< in file order, at most one a case

  [[nodiscard]] std::size_t agreeing() const noexcept { return total - failures.size(); }
  /// "145 of 145 cases agree", then one line for each failure.
  [[nodiscard]] std::string text() const;
};

/// Replays a file of HorizontalPodAutoscaler decisions (JSON, `schema_version` 1,
/// `cases` of the kinds metric, group_pods, clamp_rules, up_limit, down_limit,
/// behavior_rate, stabilize_legacy, stabilize_behavior, store_event and reconcile)
/// on the functions the `hpa` policy is made of, and reconcile cases on the policy
/// itself. Only the keys present in a case's `expect` are compared. Blocks for CPU
/// work in proportion to the file. Errors: invalid_argument (not JSON, or names the
/// case and the field that is missing or malformed), version_mismatch.
[[nodiscard]] Result<CaseReport> replay_hpa_cases(std::string_view json_text);

/// How a file tells which keys were asked for, one after the other.
enum class CacheTraceFormat : std::uint8_t {
  automatic,  ///< oracle_general where the name ends in ".bin" or ".oracleGeneral", else keys
  /// Records of 24 bytes, little-endian: seconds (u32), key (u64), bytes of the answer
  /// (u32), number of the key's next request (i64, not used).
  oracle_general,
  /// Text, a key a line. Spaces and tabs around a key, a carriage return, empty lines
  /// and lines that begin with '#' or '*' do not count. Every answer weighs 1.
  keys,
};

struct CacheReplayOptions {
  CacheTraceFormat format = CacheTraceFormat::automatic;
  CachePolicy policy = CachePolicy::s3_fifo;
  std::uint64_t capacity = 0;  ///< at least 1; bytes, or entries where every answer weighs 1
};

struct CacheReplay {
  std::uint64_t requests = 0;
  std::uint64_t misses = 0;
  std::uint64_t evicted = 0;
  std::uint64_t rejected = 0;  ///< misses whose answer was not stored
  std::uint64_t keys = 0;      ///< different ones

  /// 0 where there is no request.
  [[nodiscard]] double hit_ratio() const noexcept {
    return requests == 0 ? 0.0 : static_cast<double>(requests - misses) / static_cast<double>(requests);
  }
};

/// Replays a recorded sequence of keys on an eviction policy of the memory tier: one
/// shard, a put after every miss, answers weighed without bookkeeping, no end of life
/// (ttl_only is then first in, first out). An answer that weighs more than the
/// capacity, or more than an eighth of it where answers have sizes, is not stored.
/// Blocks for CPU work in proportion to the file and holds about 100 bytes a
/// different key and 8 a request. Errors: not_found, io_error; invalid_argument (capacity
/// 0), corrupt_data (a file cut inside a record).
[[nodiscard]] Result<CacheReplay> replay_cache_trace(const std::string& path, const CacheReplayOptions& options);

/// The same with a cache that knows the future: whatever is asked for last gives way, the newcomer included (Belady, "A
/// study of replacement algorithms for a virtual-storage computer", 1966). No policy hits more where all answers
/// weigh the same; where they have sizes it is a usual yardstick and no bound. Errors: as replay_cache_trace.
[[nodiscard]] Result<CacheReplay> replay_cache_optimum(const std::string& path, CacheTraceFormat format,
                                                       std::uint64_t capacity);

/// One request of a trace for the queue.
struct QueueArrival {
  Duration at{0};            ///< since the trace began; never before the one above
  std::uint64_t tokens = 1;  ///< >= 1
  Priority priority = Priority::interactive;
  std::string tenant{};
  Duration deadline = Duration::max();  ///< after its arrival; max = none
};

struct QueueReplayOptions {
  BatchingOptions batching{};
  AdmissionOptions admission{};
  std::uint32_t slots = 1;  ///< batches that run at a time, >= 1; with `scaling` on each replica
  /// Sets the number of replicas, one at first, all through the trace; null = there is one.
  std::shared_ptr<const ScalingPolicy> scaling{};
  Duration scaling_interval = std::chrono::seconds(2);  ///< between two decisions, > 0
  Duration replica_start{0};                            ///< from a decision until a new replica runs batches
  Duration slo{0};                                      ///< as ModelOptions::slo; answers within it are counted
  BatchLayout layout = BatchLayout::packed;
  LatencyProfile service{};  ///< what a batch takes; some of it above zero
  /// 0: every batch takes its mean. Else times are drawn between the quantiles of the
  /// profile's tails, equal ones for equal seeds.
  std::uint64_t seed = 0;
  std::function<void(double done)> progress{};  ///< called now and then with 0 to 1; may be empty
};

/// A decision of the scaling policy that changed the number of replicas.
struct ReplicaChange {
  Duration at{0};  ///< since the trace began
  std::int32_t from = 0;
  std::int32_t to = 0;
  std::string why;  ///< ScalingDecision::explain
};

/// How the requests of a trace fared.
struct QueueReplay {
  std::uint64_t requests = 0;
  std::uint64_t answered = 0;
  std::uint64_t in_time = 0;  ///< answered by their deadline, or without one
  std::uint64_t refused = 0;  ///< at the door
  std::uint64_t expired = 0;  ///< their deadline passed, or could not be held any more
  std::uint64_t dropped = 0;  ///< shed, preempted or in a batch taken for stuck
  std::uint64_t batches = 0;
  std::uint64_t batched_items = 0;
  Duration span{0};                   ///< first arrival to last end
  Duration wait_p50{0}, wait_p99{0};  ///< arrival to the start of its batch, of answered requests
  Duration total_p50{0}, total_p99{0};
  std::uint64_t within_slo = 0;          ///< answered within `slo`
  double replica_seconds = 0;            ///< that replicas were asked for, starting ones included
  std::int32_t most_replicas = 1;        ///< at a time
  std::vector<ReplicaChange> changes{};  ///< with a policy: all of them
  double busy = 0;                       ///< share of the slots' time in which they ran
  std::vector<BatchDecision> decisions;  ///< the last 256

  /// Requests answered in time, a second.
  [[nodiscard]] double goodput() const noexcept {
    const double seconds = std::chrono::duration<double>(span).count();
    return seconds > 0 ? static_cast<double>(in_time) / seconds : 0.0;
  }
};

/// Plays a trace on the queue that runs live, in virtual time. Blocks for CPU work in
/// proportion to the trace. Errors: invalid_argument (names the field).
[[nodiscard]] Result<QueueReplay> replay_queue(std::span<const QueueArrival> trace, const QueueReplayOptions& options);

/// Reads a trace from CSV: a line of column names, then a request a line. Columns in any
/// order: time_us and tokens; class (critical, interactive, batch), tenant and deadline_us may
/// be missing or empty. Lines that are empty or begin with '#' do not count.
/// Errors: not_found; corrupt_data (names the line).
[[nodiscard]] Result<std::vector<QueueArrival>> read_queue_trace(const std::string& path);

}  // namespace tidegate
