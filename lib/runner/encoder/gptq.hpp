// GptqRounder: weights to integers so that the errors of a column cancel out (GPTQ,
// Frantar et al. 2022).
#pragma once

#include <cstdint>
#include <vector>

#include "base/team.hpp"
#include "runner/encoder/activation_statistics.hpp"
#include "runner/encoder/model_packer.hpp"

namespace tidegate {

/// Rounds the weights of each column one after the other, the most used channel first,
/// each towards what makes good for the errors before it on the inputs that were seen.
class GptqRounder final : public WeightRounder {
 public:
  /// For plans with the smoothing factors of `plan`. `team` shares the work; all three
  /// must outlive the rounder. Throws std::bad_alloc.
  GptqRounder(const ActivationStatistics& seen, const PackingPlan& plan, Team& team)
      : seen_(&seen), plan_(&plan), team_(&team), rounded_(plan.layers.size() * kLinearKinds) {}

  /// What was rounded once is remembered. Weights whose inputs' moments are
  /// not there are rounded to nearest even, which is not remembered.
  void round(std::size_t layer, LinearKind kind, std::span<float> weights, std::size_t inner,
             std::span<std::int8_t> integers) const override;

 private:
  const ActivationStatistics* seen_;
  const PackingPlan* plan_;
  Team* team_;
  mutable std::vector<std::vector<std::int8_t>> rounded_;
};

}  // namespace tidegate
