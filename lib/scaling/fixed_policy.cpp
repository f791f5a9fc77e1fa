#include "scaling/decision_builder.hpp"

namespace tidegate {
namespace {

class FixedPolicy final : public ScalingPolicy {
 public:
  explicit FixedPolicy(std::int32_t replicas) : replicas_(replicas) {}

  [[nodiscard]] std::string_view name() const noexcept override { return "fixed"; }

  [[nodiscard]] ScalingDecision decide(const ScalingSnapshot& snapshot, ScalingState state) const override {
    DecisionBuilder builder(std::move(state));
    builder.state().seen = true;
    builder.step("fixed", snapshot.spec_replicas, replicas_, "the configured size");
    const bool same = snapshot.spec_replicas == replicas_;
    builder.condition(ScalingConditionType::able_to_scale, Truth::yes, same ? "ReadyForNewScale" : "SucceededRescale",
                      same ? "the size is the configured one" : "the size is set to " + std::to_string(replicas_));
    builder.condition(ScalingConditionType::scaling_active, Truth::no, "ScalingDisabled",
                      "the size does not follow load");
    return std::move(builder).finish(replicas_);
  }

 private:
  std::int32_t replicas_;
};

}  // namespace

Result<std::unique_ptr<ScalingPolicy>> make_fixed_policy(std::int32_t replicas) {
  if (replicas < 0) {
    return Error(ErrorCode::invalid_argument, "fixed policy: replicas must be at least 0").with_numbers(replicas, 0);
  }
  return std::unique_ptr<ScalingPolicy>(std::make_unique<FixedPolicy>(replicas));
}

}  // namespace tidegate
