#include "runner/encoder/gptq.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

namespace tidegate {
namespace {

constexpr float kLargestInteger = 127.0F;
/// Added to the diagonal, in units of its mean: weights are fitted to a few thousand
/// tokens and must serve all others.
constexpr float kDamping = 0.3F;
constexpr std::size_t kTogether = 32;  // columns or rows that share what is read

/// The upper triangle U of moments = transposed(U) * U, channels ordered.
struct Factor {
  std::vector<std::size_t> order;  // of the channels, the most used last
  AlignedArray<float> upper;       // [inner, inner]
};

/// Subtracts what rows [begin, end) of the factor contribute to rows [end, ...).
struct TrailingUpdate {
  float* upper;
  std::size_t inner;
  std::size_t begin;
  std::size_t end;
  std::size_t members;

  void operator()(std::size_t member) const noexcept {
    for (std::size_t row = end + member; row < inner; row += members) {
      float* target = upper + row * inner;
      for (std::size_t from = begin; from < end; from += 4) {
        const float* a = upper + from * inner;
        const float* b = a + inner;
        const float* c = b + inner;
        const float* d = c + inner;
        const float wa = a[row], wb = b[row], wc = c[row], wd = d[row];
        for (std::size_t i = row; i < inner; ++i) target[i] -= wa * a[i] + wb * b[i] + wc * c[i] + wd * d[i];
      }
    }
  }
};

/// Cholesky in place on the upper triangle of a positive definite matrix, blocks of rows
/// at a time. `inner` is padded to whole blocks with the unit matrix.
void factorize(float* upper, std::size_t inner, Team& team) {
  for (std::size_t begin = 0; begin < inner; begin += kTogether) {
    const std::size_t end = begin + kTogether;
    for (std::size_t row = begin; row < end; ++row) {
      float* own = upper + row * inner;
      for (std::size_t above = begin; above < row; ++above) {
        const float* other = upper + above * inner;
        const float weight = other[row];
        for (std::size_t i = row; i < inner; ++i) own[i] -= weight * other[i];
      }
      const float root = std::sqrt(std::max(own[row], 1e-20F));
      for (std::size_t i = row; i < inner; ++i) own[i] /= root;
    }
    TrailingUpdate update{upper, inner, begin, end, team.size()};
    team.run(update);
  }
}

Factor factor_of(const InputStatistics& seen, const std::vector<float>& factors, Team& team) {
  const std::size_t width = seen.width;
  const std::size_t padded = round_up(width, kTogether);
  const auto scale = [&factors](std::size_t i) { return factors.empty() ? 1.0F : 1.0F / factors[i]; };
  std::vector<float> diagonal(width);
  float mean = 0;
  for (std::size_t i = 0; i < width; ++i) {
    diagonal[i] = seen.moments.data()[i * width + i] * scale(i) * scale(i);
    mean += diagonal[i] / static_cast<float>(width);
  }
  const float damping = std::max(kDamping * mean, 1e-12F);
  Factor factor{std::vector<std::size_t>(width), AlignedArray<float>(padded * padded)};
  std::iota(factor.order.begin(), factor.order.end(), std::size_t{0});
  std::stable_sort(factor.order.begin(), factor.order.end(),
                   [&](std::size_t a, std::size_t b) { return diagonal[a] < diagonal[b]; });
  for (std::size_t row = 0; row < padded; ++row) {
    float* target = factor.upper.data() + row * padded;
    target[row] = 1;
    if (row >= width) continue;
    const std::size_t a = factor.order[row];
    for (std::size_t column = row; column < width; ++column) {
      const std::size_t b = factor.order[column];
      target[column] = seen.moments.data()[std::max(a, b) * width + std::min(a, b)] * scale(a) * scale(b);
    }
    target[row] += damping;
  }
  factorize(factor.upper.data(), padded, team);
  return factor;
}

/// Rounds blocks of columns, the members of a team taking turns.
struct Rounding {
  const Factor& factor;
  std::span<const float> weights;  // [columns, inner]
  std::span<std::int8_t> integers;
  std::size_t inner;
  std::size_t stride;  // of the factor
  std::size_t members;
  std::span<AlignedArray<float>> scratches;

  void operator()(std::size_t member) const noexcept {
    const std::size_t columns = weights.size() / inner;
    for (std::size_t first = member * kTogether; first < columns; first += members * kTogether) {
      round_block(first, std::min(kTogether, columns - first), scratches[member].data());
    }
  }

  /// `errors` is [inner, kTogether], in the factor's order; columns beyond `count` stay zero.
  void round_block(std::size_t first, std::size_t count, float* errors) const noexcept {
    for (std::size_t i = inner; i-- > 0;) {
      const float* upper = factor.upper.data() + i * stride;
      float carried[kTogether] = {};
      for (std::size_t k = i + 1; k < inner; ++k) {
        const float weight = upper[k];
        const float* error = errors + k * kTogether;
        for (std::size_t c = 0; c < kTogether; ++c) carried[c] += weight * error[c];
      }
      const std::size_t channel = factor.order[i];
      for (std::size_t c = 0; c < count; ++c) {
        const std::size_t at = (first + c) * inner + channel;
        const float wanted = weights[at] + carried[c] / upper[i];
        const float integer = std::clamp(std::nearbyint(wanted), -kLargestInteger, kLargestInteger);
        integers[at] = static_cast<std::int8_t>(integer);
        errors[i * kTogether + c] = weights[at] - integer;
      }
      for (std::size_t c = count; c < kTogether; ++c) errors[i * kTogether + c] = 0;
    }
  }
};

}  // namespace

void GptqRounder::round(std::size_t layer, LinearKind kind, std::span<float> weights, std::size_t inner,
                        std::span<std::int8_t> integers) const {
  std::vector<std::int8_t>& remembered = rounded_[layer * kLinearKinds + static_cast<std::size_t>(kind)];
  if (remembered.size() == integers.size()) {
    std::memcpy(integers.data(), remembered.data(), remembered.size());
    return;
  }
  const InputStatistics& seen = seen_->of(layer, kind);
  if (seen.rows == 0) {
    for (std::size_t i = 0; i < weights.size(); ++i) {
      integers[i] = static_cast<std::int8_t>(std::clamp(std::nearbyint(weights[i]), -kLargestInteger, kLargestInteger));
    }
    return;
  }
  const Factor factor = factor_of(seen, plan_->layers[layer].factors(kind), *team_);
  std::vector<AlignedArray<float>> scratches;
  for (std::size_t i = 0; i < team_->size(); ++i) scratches.emplace_back(inner * kTogether);
  Rounding rounding{factor, weights, integers, inner, round_up(inner, kTogether), team_->size(), scratches};
  team_->run(rounding);
  remembered.assign(integers.begin(), integers.end());
}

}  // namespace tidegate
