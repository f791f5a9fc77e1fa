// PackingPlan: in which numbers each product of a model runs.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <vector>

#include "runner/encoder/linear_kind.hpp"
#include "runner/encoder/numbers.hpp"
#include "tidegate/tensor.hpp"

namespace tidegate {

struct LayerPlan {
  std::array<Number, kLinearKinds> numbers{};  ///< by LinearKind
  /// Smoothing factors of the input channels, [hidden] or empty for none: the LayerNorm
  /// that feeds the product is divided by them, the product's weights are multiplied.
  std::vector<float> qkv_factors;
  std::vector<float> intermediate_factors;

  [[nodiscard]] Number number(LinearKind kind) const noexcept { return numbers[static_cast<std::size_t>(kind)]; }
  void set(LinearKind kind, Number number) noexcept { numbers[static_cast<std::size_t>(kind)] = number; }
  [[nodiscard]] const std::vector<float>& factors(LinearKind kind) const noexcept {
    static const std::vector<float> kNone;
    if (kind == LinearKind::qkv) return qkv_factors;
    return kind == LinearKind::intermediate ? intermediate_factors : kNone;
  }
  friend bool operator==(const LayerPlan&, const LayerPlan&) = default;
};

struct PackingPlan {
  std::vector<LayerPlan> layers;
  /// The type of the packed word embeddings; empty: they are read where the model has them.
  std::optional<DataType> words;

  friend bool operator==(const PackingPlan&, const PackingPlan&) = default;
};

/// Every product in `number`, nothing smoothed.
[[nodiscard]] inline PackingPlan uniform_plan(std::size_t layers, Number number) {
  LayerPlan layer;
  layer.numbers.fill(number);
  return {std::vector<LayerPlan>(layers, layer), std::nullopt};
}

}  // namespace tidegate
