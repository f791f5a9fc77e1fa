// Zipf: keys as unequally asked for as texts are.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

namespace tidegate::test {

/// Numbers below `keys` by Zipf's law with exponent 1.
class Zipf {
 public:
  explicit Zipf(std::uint32_t keys) {
    double sum = 0;
    for (std::uint32_t i = 1; i <= keys; ++i) shares_.push_back(sum += 1.0 / i);
  }
  std::uint32_t draw(std::mt19937_64& random) {
    const double at = std::uniform_real_distribution<double>(0, shares_.back())(random);
    return static_cast<std::uint32_t>(std::lower_bound(shares_.begin(), shares_.end(), at) - shares_.begin());
  }

 private:
  std::vector<double> shares_;
};

}  // namespace tidegate::test
