// Smoothing: how far each input channel of a product is scaled down before it becomes
// 8 bits, and its weights up (SmoothQuant, Xiao et al. 2022).
#pragma once

#include <span>
#include <vector>

#include "runner/encoder/activation_statistics.hpp"
#include "runner/encoder/encoder_model.hpp"
#include "runner/encoder/packing_plan.hpp"

namespace tidegate {

/// The largest magnitude in each column of matrices [.., inner], set one below the other.
[[nodiscard]] std::vector<float> channel_reach(std::span<const LinearWeights* const> parts);

/// How far a LayerNorm's output reaches, judged by its weights alone: 2 |gamma| + |beta|.
[[nodiscard]] std::vector<float> norm_reach(const NormWeights& norm);

/// input_reach^alpha / weight_reach^(1 - alpha) of each channel, about 1 on the
/// geometric mean and within 1/64 to 64: only ratios matter, and beyond that a channel
/// would be lost.
[[nodiscard]] std::vector<float> smoothing_factors(std::span<const float> input_reach,
                                                   std::span<const float> weight_reach, double alpha);

/// Everything in u8, inputs of qkv and intermediate smoothed by what was seen, or, without
/// `seen`, by the LayerNorms that feed them.
[[nodiscard]] PackingPlan smoothed_plan(const EncoderModel& model, const ActivationStatistics* seen, double alpha);

}  // namespace tidegate
