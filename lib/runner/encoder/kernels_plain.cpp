// The kernels as plain loops in double precision: the oracle of the vector kernels,
// and what runs where there is no AVX2.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "runner/encoder/attention_layout.hpp"
#include "runner/encoder/kernels.hpp"

namespace tidegate {
namespace {

constexpr std::size_t kStrip = 16;

void product(const ProductCall& call) {
  for (std::size_t row = 0; row < call.rows; ++row) {
    const float* x = call.x + row * call.x_stride;
    float* y = call.y + row * call.y_stride;
    for (std::size_t column = 0; column < call.columns; column += kStrip) {
      const float* strip = call.packed + column * call.inner;
      double sums[kStrip] = {};
      for (std::size_t k = 0; k < call.inner; ++k) {
        for (std::size_t j = 0; j < kStrip; ++j) sums[j] += static_cast<double>(x[k]) * strip[k * kStrip + j];
      }
      for (std::size_t j = 0; j < kStrip; ++j) y[column + j] = static_cast<float>(sums[j]);
    }
  }
}

void residual_norm(const ResidualNormCall& call) {
  for (std::size_t row = 0; row < call.rows; ++row) {
    float* x = call.x + row * call.x_stride;
    const float* addend = call.addend + row * call.addend_stride;
    double mean = 0;
    for (std::size_t i = 0; i < call.width; ++i) {
      x[i] += addend[i] + call.bias[i];
      mean += x[i];
    }
    mean /= static_cast<double>(call.width);
    double variance = 0;
    for (std::size_t i = 0; i < call.width; ++i) variance += (x[i] - mean) * (x[i] - mean);
    variance /= static_cast<double>(call.width);
    const double scale = 1.0 / std::sqrt(variance + call.epsilon);
    for (std::size_t i = 0; i < call.width; ++i) {
      x[i] = static_cast<float>((x[i] - mean) * scale * call.gamma[i] + call.beta[i]);
    }
  }
}

double activate(Activation activation, double x) {
  switch (activation) {
    case Activation::identity: return x;
    case Activation::gelu_erf: return 0.5 * x * (1.0 + std::erf(x / std::numbers::sqrt2));
    case Activation::gelu_tanh:
      return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
    case Activation::relu: return std::isnan(x) ? x : std::max(x, 0.0);
    case Activation::tanh: return std::tanh(x);
  }
  return x;
}

void bias_activation(const BiasActivationCall& call) {
  for (std::size_t row = 0; row < call.rows; ++row) {
    float* x = call.x + row * call.stride;
    for (std::size_t i = 0; i < call.width; ++i) {
      x[i] = static_cast<float>(activate(call.activation, x[i] + call.bias[i]));
    }
  }
}

/// One query of one head: scores against every key, softmax, weighted sum of values.
void attend(const AttentionCall& call, std::size_t head, std::size_t row, float* scores) {
  const std::size_t hidden = call.heads * call.head_size;
  const std::size_t offset = head * call.head_size;
  const float* query = call.qkv + row * call.qkv_stride + offset;
  const double scale = 1.0 / std::sqrt(static_cast<double>(call.head_size));
  float highest = -std::numeric_limits<float>::infinity();
  for (std::size_t key = 0; key < call.length; ++key) {
    const float* keys = call.qkv + key * call.qkv_stride + hidden + offset;
    double sum = 0;
    for (std::size_t i = 0; i < call.head_size; ++i) {
      sum += (static_cast<double>(query[i]) + call.bias[offset + i]) * scale *
             (static_cast<double>(keys[i]) + call.bias[hidden + offset + i]);
    }
    scores[key] = static_cast<float>(sum);
    highest = std::max(highest, scores[key]);
  }
  double total = 0;
  for (std::size_t key = 0; key < call.length; ++key) total += std::exp(static_cast<double>(scores[key]) - highest);
  float* context = call.context + row * call.context_stride + offset;
  for (std::size_t i = 0; i < call.head_size; ++i) {
    double sum = 0;
    for (std::size_t key = 0; key < call.length; ++key) {
      const double value = static_cast<double>(call.qkv[key * call.qkv_stride + 2 * hidden + offset + i]) +
                           call.bias[2 * hidden + offset + i];
      sum += std::exp(static_cast<double>(scores[key]) - highest) * value;
    }
    context[i] = static_cast<float>(sum / total);
  }
}

void attention(const AttentionCall& call) {
  float* scores = call.scratch + AttentionLayout::of(call.length, call.head_size, kStrip).scores;
  for (std::size_t head = 0; head < call.heads; ++head) {
    for (std::size_t row = 0; row < call.length; ++row) attend(call, head, row, scores);
  }
}

}  // namespace

const Kernels kPlainKernels = {KernelSet::plain, kStrip, product, residual_norm, bias_activation, attention};

}  // namespace tidegate
