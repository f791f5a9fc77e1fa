// What the kernels' tests share: aligned matrices, random and extreme numbers, bf16.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <new>
#include <random>
#include <string>
#include <vector>

#include "runner/encoder/kernels.hpp"

namespace tidegate::test {

template <class T>
struct Aligned {
  using value_type = T;
  Aligned() = default;
  template <class U>
  Aligned(const Aligned<U>&) {}
  T* allocate(std::size_t n) { return static_cast<T*>(::operator new (n * sizeof(T), std::align_val_t{64})); }
  void deallocate(T* p, std::size_t) { ::operator delete (p, std::align_val_t{64}); }
  friend bool operator==(const Aligned&, const Aligned&) { return true; }
};
/// Values on a cache line, zero at first.
template <class T>
using Buffer = std::vector<T, Aligned<T>>;

/// Every set of this processor; says which are left out.
[[nodiscard]] inline std::vector<const Kernels*> all_kernels() {
  std::vector<const Kernels*> list;
  for (const KernelSet set : kKernelSets) {
    if (supports(cpu_features(), set)) {
      list.push_back(&kernels_of(set));
    } else {
      MESSAGE("not checked on this processor: " << std::string(to_string(set)));
    }
  }
  return list;
}

[[nodiscard]] inline std::string name_of(const Kernels& kernels) { return std::string(to_string(kernels.set)); }

[[nodiscard]] inline float widened(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

[[nodiscard]] inline std::uint16_t rounded(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return static_cast<std::uint16_t>((bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16);
}

[[nodiscard]] inline Buffer<float> random_floats(std::size_t size, float scale, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0F, scale);
  Buffer<float> values(size);
  for (float& value : values) value = normal(generator);
  return values;
}

template <class T>
[[nodiscard]] bool same_bytes(const T* a, const T* b, std::size_t count) {
  return std::memcmp(a, b, count * sizeof(T)) == 0;
}

/// Numbers of a matrix in memory, widened.
[[nodiscard]] inline double value_at(Number number, const void* data, std::size_t i) {
  if (number == Number::u8) return static_cast<const std::uint8_t*>(data)[i];
  if (number == Number::bf16) return static_cast<double>(widened(static_cast<const std::uint16_t*>(data)[i]));
  return static_cast<double>(static_cast<const float*>(data)[i]);
}

}  // namespace tidegate::test
