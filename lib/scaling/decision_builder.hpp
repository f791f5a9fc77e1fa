// DecisionBuilder: collects conditions and steps while a policy thinks.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "tidegate/scaling.hpp"

namespace tidegate {

enum class Truth : std::uint8_t { no, yes };

class DecisionBuilder {
 public:
  explicit DecisionBuilder(ScalingState state) { decision_.state = std::move(state); }

  /// One condition a type: a later one replaces an earlier one.
  void condition(ScalingConditionType type, Truth truth, std::string_view reason, std::string message) {
    ScalingCondition made{type, truth == Truth::yes, std::string(reason), std::move(message)};
    for (ScalingCondition& known : decision_.conditions) {
      if (known.type != type) continue;
      known = std::move(made);
      return;
    }
    decision_.conditions.push_back(std::move(made));
  }

  void step(std::string_view stage, std::int32_t before, std::int32_t after, std::string why) {
    decision_.steps.push_back({std::string(stage), before, after, std::move(why)});
  }

  [[nodiscard]] ScalingState& state() noexcept { return decision_.state; }

  [[nodiscard]] ScalingDecision finish(std::int32_t replicas) && {
    decision_.replicas = replicas;
    return std::move(decision_);
  }

 private:
  ScalingDecision decision_;
};

}  // namespace tidegate
