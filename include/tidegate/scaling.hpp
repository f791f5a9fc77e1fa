// Scaling policies: how many replicas there should be. Pure: no clock, no lock, no thread.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tidegate/hpa.hpp"
#include "tidegate/lane_load.hpp"
#include "tidegate/result.hpp"
#include "tidegate/time.hpp"

namespace tidegate {

// ---- what a policy sees --------------------------------------------------------

enum class PodPhase : std::uint8_t { pending, running, succeeded, failed };
enum class PodReadiness : std::uint8_t { unknown, not_ready, ready };

/// One replica as its platform reports it.
struct ScalingPod {
  std::string name;
  PodPhase phase = PodPhase::running;
  bool deleting = false;
  PodReadiness readiness = PodReadiness::ready;
  std::optional<Duration> age{};  ///< since it started; empty = not started
  Duration transition_age{0};     ///< since its readiness last changed
};

/// A metric of one pod. Milli-units: 1500 is 1.5 cores or 1.5 requests a second.
struct PodReading {
  std::string pod;
  std::optional<std::int64_t> usage_milli{};    ///< empty = no sample
  std::optional<std::int64_t> request_milli{};  ///< what the pod reserved; utilization needs it
  Duration age{0};                              ///< of the sample
  Duration window = std::chrono::seconds(60);   ///< the sample is an average over this long
};

/// What one configured metric read this time. `error` not empty: it could not be read.
struct MetricReading {
  std::string error;
  std::vector<PodReading> pods;            ///< utilization, average usage and per-pod metrics
  std::vector<std::int64_t> values_milli;  ///< object and external metrics; summed
};

/// Milli-units of `value`, saturated; empty for NaN, which is missing data.
[[nodiscard]] std::optional<std::int64_t> to_milli(double value) noexcept;

/// Which replicas belong to the target.
enum class PodSelection : std::uint8_t { known, missing, ambiguous };

struct ScalingSnapshot {
  TimePoint now{};
  std::int32_t spec_replicas = 0;    ///< asked for
  std::int32_t status_replicas = 0;  ///< existing
  PodSelection selection = PodSelection::known;
  std::vector<ScalingPod> pods;
  std::vector<MetricReading> readings;  ///< one for each of the policy's metrics, in order
  std::vector<LaneLoad> lanes{};        ///< of the models that the replicas run; policies by metrics read none
};

// ---- what a policy remembers and answers ----------------------------------------

struct ScalingRecommendation {
  std::int32_t replicas = 0;
  TimePoint at{};
  bool operator==(const ScalingRecommendation&) const = default;
};

/// A change that was made. `outdated` slots are written over.
struct ScalingEvent {
  std::int32_t change = 0;  ///< replicas added or removed, > 0
  TimePoint at{};
  bool outdated = false;
  bool operator==(const ScalingEvent&) const = default;
};

/// Everything a policy remembers between decisions: a value. A default one is a
/// target never seen before.
struct ScalingState {
  bool seen = false;
  bool scaled_to_zero = false;  ///< the last change to 0 was the policy's own
  std::vector<ScalingRecommendation> recommendations;
  std::vector<ScalingEvent> ups;
  std::vector<ScalingEvent> downs;
  bool operator==(const ScalingState&) const = default;

  /// Lines of text. Times are kept as ages before `now`, so that a state survives
  /// its process; `load` counts them back from its own `now`.
  [[nodiscard]] std::string save(TimePoint now) const;
  /// Errors: corrupt_data (names the line), version_mismatch.
  [[nodiscard]] static Result<ScalingState> load(std::string_view text, TimePoint now);
};

enum class ScalingConditionType : std::uint8_t { able_to_scale, scaling_active, scaling_limited, scaled_to_zero };

/// As Kubernetes reports it, with its reason words.
struct ScalingCondition {
  ScalingConditionType type{};
  bool status = false;
  std::string reason;
  std::string message;
};

/// One step of the reasoning, in order: replicas before and after, and why.
struct ScalingStep {
  std::string stage;
  std::int32_t before = 0;
  std::int32_t after = 0;
  std::string why;
};

struct ScalingDecision {
  std::int32_t replicas = 0;  ///< to ask for; equal to spec_replicas when nothing changes
  std::vector<ScalingCondition> conditions;
  std::vector<ScalingStep> steps;
  ScalingState state;  ///< to pass to the next call, once `replicas` was asked for

  [[nodiscard]] const ScalingCondition* condition(ScalingConditionType type) const noexcept;
  /// Steps and conditions as lines of text.
  [[nodiscard]] std::string explain() const;
};

/// Decides; never acts. Equal arguments give equal decisions. Thread-safe.
class ScalingPolicy {
 public:
  virtual ~ScalingPolicy() = default;
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;
  [[nodiscard]] virtual ScalingDecision decide(const ScalingSnapshot& snapshot, ScalingState state) const = 0;
};

// ---- policies -------------------------------------------------------------------

/// Always this many. Errors: invalid_argument (negative).
[[nodiscard]] Result<std::unique_ptr<ScalingPolicy>> make_fixed_policy(std::int32_t replicas);

enum class TailQuantile : std::uint8_t { p95, p99 };

/// How many replicas the service times that the queues have learned ask for. Of a lane: the largest
/// batch whose time once in twenty (`tail`) stays within half of the SLO; the fewest replicas on
/// which arrivals, and what waits spread over `backlog_time`, keep its slots busy for less than
/// `target_utilization`, and on which wait and batch together stay within the SLO. The most
/// that any lane, or pool of lanes, needs. Without service times or arrivals the size stays.
struct ServiceTimeOptions {
  std::int32_t min_replicas = 1;    ///< >= 1
  std::int32_t max_replicas = 16;   ///< min_replicas to 10000
  double target_utilization = 0.7;  ///< above 0, below 1
  Duration slo{0};                  ///< arrival to answer, of lanes that have none of their own; 0 = none
  TailQuantile tail = TailQuantile::p95;
  Duration backlog_time = std::chrono::seconds(5);  ///< > 0
  HpaBehavior behavior{};                           ///< windows and rates of changes; as the HPA's where unset
};

/// Errors: invalid_argument (names the option and its range).
[[nodiscard]] Result<std::unique_ptr<ScalingPolicy>> make_service_time_policy(ServiceTimeOptions options);

}  // namespace tidegate
