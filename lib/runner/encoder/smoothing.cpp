#include "runner/encoder/smoothing.hpp"

#include <algorithm>
#include <cmath>

#include "runner/encoder/widen.hpp"

namespace tidegate {
namespace {

constexpr float kSmallestReach = 1e-5F;
constexpr double kWidest = 64.0;

}  // namespace

std::vector<float> channel_reach(std::span<const LinearWeights* const> parts) {
  const auto inner = static_cast<std::size_t>(parts.front()->weight.shape[1]);
  std::vector<float> reach(inner);
  std::vector<float> row(inner);
  for (const LinearWeights* part : parts) {
    const WeightView& weight = part->weight;
    const std::size_t bytes = inner * byte_size(weight.type);
    for (std::int64_t i = 0; i < weight.shape[0]; ++i) {
      widen(weight.type, weight.bytes.data() + static_cast<std::size_t>(i) * bytes, row);
      for (std::size_t k = 0; k < inner; ++k) reach[k] = std::max(reach[k], std::abs(row[k]));
    }
  }
  return reach;
}

std::vector<float> norm_reach(const NormWeights& norm) {
  const auto size = static_cast<std::size_t>(norm.gamma.shape[0]);
  std::vector<float> gamma(size);
  std::vector<float> beta(size);
  widen(norm.gamma.type, norm.gamma.bytes.data(), gamma);
  widen(norm.beta.type, norm.beta.bytes.data(), beta);
  for (std::size_t i = 0; i < size; ++i) gamma[i] = 2 * std::abs(gamma[i]) + std::abs(beta[i]);
  return gamma;
}

std::vector<float> smoothing_factors(std::span<const float> input_reach, std::span<const float> weight_reach,
                                     double alpha) {
  std::vector<double> logarithms(input_reach.size());
  double mean = 0;
  for (std::size_t i = 0; i < logarithms.size(); ++i) {
    logarithms[i] = alpha * std::log(std::max(input_reach[i], kSmallestReach)) -
                    (1 - alpha) * std::log(std::max(weight_reach[i], kSmallestReach));
    mean += logarithms[i] / static_cast<double>(logarithms.size());
  }
  std::vector<float> factors(logarithms.size());
  for (std::size_t i = 0; i < factors.size(); ++i) {
    factors[i] = static_cast<float>(std::clamp(std::exp(logarithms[i] - mean), 1 / kWidest, kWidest));
  }
  return factors;
}

PackingPlan smoothed_plan(const EncoderModel& model, const ActivationStatistics* seen, double alpha) {
  PackingPlan plan = uniform_plan(model.layers.size(), Number::u8);
  for (std::size_t i = 0; i < plan.layers.size(); ++i) {
    const LayerWeights& layer = model.layers[i];
    const LinearWeights* const qkv[] = {&layer.query, &layer.key, &layer.value};
    const LinearWeights* const intermediate[] = {&layer.intermediate};
    const NormWeights& feeding = i == 0 ? model.embedding_norm : model.layers[i - 1].output_norm;
    plan.layers[i].qkv_factors = smoothing_factors(
        seen != nullptr ? seen->of(i, LinearKind::qkv).reach : norm_reach(feeding), channel_reach(qkv), alpha);
    plan.layers[i].intermediate_factors = smoothing_factors(
        seen != nullptr ? seen->of(i, LinearKind::intermediate).reach : norm_reach(layer.attention_norm),
        channel_reach(intermediate), alpha);
  }
  return plan;
}

}  // namespace tidegate
