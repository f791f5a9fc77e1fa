#include "cache/vector_space.hpp"

#include <cmath>

namespace tidegate {
namespace {

using Lanes = float __attribute__((vector_size(64), aligned(4), may_alias));
constexpr std::size_t kLanes = sizeof(Lanes) / sizeof(float);

/// Four sums side by side hide the latency of an addition. Compiled anew in each function below,
/// for its instruction set.
[[gnu::always_inline]] inline float sum_of_products(const float* a, const float* b, std::size_t size) {
  Lanes sums[4] = {};
  std::size_t i = 0;
  for (; i + 4 * kLanes <= size; i += 4 * kLanes) {
    for (std::size_t k = 0; k < 4; ++k) {
      const std::size_t at = i + k * kLanes;
      sums[k] += *reinterpret_cast<const Lanes*>(a + at) * *reinterpret_cast<const Lanes*>(b + at);
    }
  }
  for (; i + kLanes <= size; i += kLanes) {
    sums[0] += *reinterpret_cast<const Lanes*>(a + i) * *reinterpret_cast<const Lanes*>(b + i);
  }
  const Lanes all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  float total = 0;
  for (std::size_t k = 0; k < kLanes; ++k) total += all[k];
  for (; i < size; ++i) total += a[i] * b[i];
  return total;
}

float dot_plain(const float* a, const float* b, std::size_t size) noexcept { return sum_of_products(a, b, size); }

#if defined(__x86_64__)
[[gnu::target("avx2,fma")]] float dot_avx2(const float* a, const float* b, std::size_t size) noexcept {
  return sum_of_products(a, b, size);
}
[[gnu::target("avx512f")]] float dot_avx512(const float* a, const float* b, std::size_t size) noexcept {
  return sum_of_products(a, b, size);
}
#endif

}  // namespace

DotProduct fastest_dot_product() noexcept {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return dot_avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return dot_avx2;
#endif
  return dot_plain;
}

double plain_dot_product(std::span<const float> a, std::span<const float> b) noexcept {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

std::vector<float> unit_vector(std::span<const float> vector) {
  const double length = std::sqrt(plain_dot_product(vector, vector));
  if (!std::isfinite(length) || length == 0) return {};
  std::vector<float> unit(vector.begin(), vector.end());
  for (float& number : unit) number = static_cast<float>(number / length);
  return unit;
}

}  // namespace tidegate
