#include "runner/encoder/model_packer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/try.hpp"
#include "runner/encoder/narrow.hpp"
#include "runner/encoder/widen.hpp"

namespace tidegate {
namespace {

constexpr float kLargestInteger = 127.0F;
constexpr float kSmallestColumn = 1e-30F;  // a column of smaller weights is zero: its scale has no inverse
constexpr std::size_t kBlock = 16;         // groups transposed together: a cache line of each row

std::size_t rows_of(const WeightView& view) { return static_cast<std::size_t>(view.shape[0]); }

/// A product to be packed. `parts` are matrices of one input, set side by side.
struct Source {
  std::span<const LinearWeights* const> parts;
  std::span<const float> factors;  // of the input channels; empty: none
  std::size_t layer = 0;
  LinearKind kind = LinearKind::qkv;
};

/// Nearest even; |value| <= 127. Adding 1.5 * 2^23 leaves no room for a fraction.
[[gnu::always_inline]] inline std::int32_t round_to_integer(float value) noexcept {
  constexpr float kMagic = 12582912.0F;
  return static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(value + kMagic)) - 0x4B400000;
}

class Packer {
 public:
  Packer(const EncoderModel& model, PackedImage& image, const WeightRounder* rounder)
      : model_(model), image_(image), rounder_(rounder), view_(view_image(model, image.plan, image.bytes.data())) {}

  Result<void> pack() {
    const std::size_t hidden = model_.config.hidden_size;
    if (image_.plan.words) pack_words();
    widen(model_.position_embeddings, model_.max_tokens * hidden, view_.positions);
    widen(model_.token_type_embeddings, hidden, view_.token_type);
    pack_norm(model_.embedding_norm, image_.plan.layers.front().qkv_factors, view_.embedding_norm);
    for (std::size_t i = 0; i < view_.layers.size(); ++i) TIDEGATE_CHECK(pack_layer(i));
    std::size_t next_dense = 0;
    for (const auto& stage : model_.stages) {
      const auto* dense = std::get_if<DenseStage>(&stage);
      if (dense == nullptr) continue;
      const LinearWeights* const parts[] = {&dense->linear};
      TIDEGATE_CHECK(pack_linear({parts, {}}, view_.dense[next_dense++]));
    }
    return {};
  }

 private:
  /// The image's own memory behind a view of it.
  template <class T>
  T* writable(const T* view) noexcept {
    return reinterpret_cast<T*>(image_.bytes.data() + (reinterpret_cast<const std::byte*>(view) - image_.bytes.data()));
  }
  void widen(const WeightView& stored, std::size_t count, const float* target) {
    tidegate::widen(stored.type, stored.bytes.data(), {writable(target), count});
  }

  void pack_words();
  Result<void> pack_layer(std::size_t index);
  void pack_norm(const NormWeights& weights, std::span<const float> factors, const PackedNorm& norm);
  Result<void> pack_linear(const Source& source, const PackedLinear& linear);
  void read_row(const Source& source, std::size_t row, std::span<float> values) const;
  void pack_bias(const Source& source, const PackedLinear& linear);
  void scatter(std::size_t groups, std::byte* strip) const noexcept;
  Result<void> read_scaled(const Source& source, const PackedLinear& linear, std::size_t column,
                           std::span<float> values);
  Result<void> round_together(const Source& source, const PackedLinear& linear);
  Result<void> fill_row(const Source& source, const PackedLinear& linear, std::size_t column, std::uint32_t* groups);

  const EncoderModel& model_;
  PackedImage& image_;
  const WeightRounder* rounder_;
  PackedModel view_;
  AlignedArray<float> row_;             // one row of weights
  AlignedArray<std::uint32_t> rows_;    // [kStrip, groups]: one strip before it is transposed
  AlignedArray<std::int8_t> integers_;  // [columns, inner] of the rounder
};

void Packer::pack_words() {
  const WeightView& words = model_.word_embeddings;
  std::byte* target = image_.bytes.data() + (view_.words - image_.bytes.data());
  if (words.type == *image_.plan.words) {
    std::memcpy(target, words.bytes.data(), words.bytes.size());
    return;
  }
  const std::size_t hidden = model_.config.hidden_size;
  const std::size_t size = byte_size(*image_.plan.words);
  AlignedArray<float> row(hidden);
  for (std::size_t i = 0; i < model_.config.vocab_size; ++i, target += hidden * size) {
    tidegate::widen(words.type, words.bytes.data() + i * hidden * byte_size(words.type), row.span());
    if (size == sizeof(float)) {
      std::memcpy(target, row.data(), hidden * size);
    } else if (*image_.plan.words == DataType::f16) {
      narrow_to_half(row.span(), reinterpret_cast<std::uint16_t*>(target));
    } else {
      narrow_to_bf16(row.span(), reinterpret_cast<std::uint16_t*>(target));
    }
  }
}

void Packer::pack_norm(const NormWeights& weights, std::span<const float> factors, const PackedNorm& norm) {
  const std::size_t hidden = rows_of(weights.gamma);
  widen(weights.gamma, hidden, norm.gamma);
  widen(weights.beta, hidden, norm.beta);
  for (std::size_t i = 0; i < factors.size(); ++i) {
    writable(norm.next_gamma)[i] = norm.gamma[i] / factors[i];
    writable(norm.next_beta)[i] = norm.beta[i] / factors[i];
  }
}

Result<void> Packer::pack_layer(std::size_t index) {
  const LayerWeights& weights = model_.layers[index];
  const LayerPlan& plan = image_.plan.layers[index];
  const PackedLayer& target = view_.layers[index];
  const LinearWeights* const qkv[] = {&weights.query, &weights.key, &weights.value};
  const LinearWeights* const attention_output[] = {&weights.attention_output};
  const LinearWeights* const intermediate[] = {&weights.intermediate};
  const LinearWeights* const output[] = {&weights.output};
  TIDEGATE_CHECK(pack_linear({qkv, plan.qkv_factors, index, LinearKind::qkv}, target.qkv));
  TIDEGATE_CHECK(pack_linear({attention_output, {}, index, LinearKind::attention_output}, target.attention_output));
  TIDEGATE_CHECK(
      pack_linear({intermediate, plan.intermediate_factors, index, LinearKind::intermediate}, target.intermediate));
  TIDEGATE_CHECK(pack_linear({output, {}, index, LinearKind::output}, target.output));
  pack_norm(weights.attention_norm, plan.intermediate_factors, target.attention_norm);
  const bool last = index + 1 == view_.layers.size();
  const std::span<const float> none;
  pack_norm(weights.output_norm, last ? none : image_.plan.layers[index + 1].qkv_factors, target.output_norm);
  return {};
}

/// Row `row` of the parts, one below the other, smoothed.
void Packer::read_row(const Source& source, std::size_t row, std::span<float> values) const {
  std::size_t part = 0;
  while (row >= rows_of(source.parts[part]->weight)) row -= rows_of(source.parts[part++]->weight);
  const WeightView& weight = source.parts[part]->weight;
  tidegate::widen(weight.type, weight.bytes.data() + row * values.size() * byte_size(weight.type), values);
  for (std::size_t i = 0; i < source.factors.size(); ++i) values[i] *= source.factors[i];
}

void Packer::pack_bias(const Source& source, const PackedLinear& linear) {
  std::size_t column = 0;
  for (const LinearWeights* part : source.parts) {
    const std::size_t own = rows_of(part->weight);
    if (!part->bias.bytes.empty()) widen(part->bias, own, linear.bias + column);
    column += own;
  }
}

/// rows_ to [groups, kStrip], in blocks that stay in the nearest cache.
void Packer::scatter(std::size_t groups, std::byte* strip) const noexcept {
  auto* target = reinterpret_cast<std::uint32_t*>(strip);
  for (std::size_t first = 0; first < groups; first += kBlock) {
    const std::size_t count = std::min(kBlock, groups - first);
    for (std::size_t column = 0; column < kStrip; ++column) {
      const std::uint32_t* row = rows_.data() + column * groups + first;
      for (std::size_t i = 0; i < count; ++i) target[(first + i) * kStrip + column] = row[i];
    }
  }
}

/// Reads a column's weights in units of its scale, which it sets.
Result<void> Packer::read_scaled(const Source& source, const PackedLinear& linear, std::size_t column,
                                 std::span<float> values) {
  read_row(source, column, values);
  const std::uint32_t bits = largest_magnitude_bits(values);
  if (bits >= kInfinityBits) {
    return Error(ErrorCode::corrupt_data, fmt::format("'{}' holds a weight that is not finite: int8 cannot hold it",
                                                      source.parts.front()->weight.name));
  }
  const float largest = std::bit_cast<float>(bits);
  const bool vanishes = largest < kSmallestColumn;
  writable(linear.column_scale)[column] = vanishes ? 0.0F : largest / kLargestInteger;
  const float inverse = vanishes ? 0.0F : kLargestInteger / largest;
  for (float& value : values) value *= inverse;
  return {};
}

/// The whole matrix to `integers_`, by the rounder.
Result<void> Packer::round_together(const Source& source, const PackedLinear& linear) {
  AlignedArray<float> scaled(linear.columns * linear.inner);
  for (std::size_t column = 0; column < linear.columns; ++column) {
    const std::span<float> row = scaled.span().subspan(column * linear.inner, linear.inner);
    TIDEGATE_CHECK(read_scaled(source, linear, column, row));
  }
  integers_ = AlignedArray<std::int8_t>(linear.columns * linear.inner);
  rounder_->round(source.layer, source.kind, scaled.span(), linear.inner, integers_.span());
  return {};
}

/// One column's weights as groups; those beyond the last value are left as they are.
Result<void> Packer::fill_row(const Source& source, const PackedLinear& linear, std::size_t column,
                              std::uint32_t* groups) {
  const std::span<float> row = row_.span().first(linear.inner);
  if (linear.number == Number::u8) {
    auto* integers = reinterpret_cast<std::int8_t*>(groups);
    if (rounder_ != nullptr) {
      std::memcpy(integers, integers_.data() + column * linear.inner, linear.inner);
    } else {
      TIDEGATE_CHECK(read_scaled(source, linear, column, row));
      for (std::size_t i = 0; i < row.size(); ++i) integers[i] = static_cast<std::int8_t>(round_to_integer(row[i]));
    }
    std::int32_t sum = 0;
    for (std::size_t i = 0; i < row.size(); ++i) sum += integers[i];
    writable(linear.column_sum)[column] = linear.column_scale[column] * static_cast<float>(sum);
    return {};
  }
  read_row(source, column, row);
  if (linear.number == Number::f32) {
    std::memcpy(groups, row.data(), row.size_bytes());
  } else {
    narrow_to_bf16(row, reinterpret_cast<std::uint16_t*>(groups));
  }
  return {};
}

Result<void> Packer::pack_linear(const Source& source, const PackedLinear& linear) {
  pack_bias(source, linear);
  const std::size_t groups = groups_of(linear.number, linear.inner);
  if (row_.size() < linear.inner) row_ = AlignedArray<float>(linear.inner);
  rows_ = AlignedArray<std::uint32_t>(kStrip * groups);
  if (linear.number == Number::u8 && rounder_ != nullptr) TIDEGATE_CHECK(round_together(source, linear));
  std::byte* strip = writable(linear.strips);
  for (std::size_t first = 0; first < linear.columns; first += kStrip, strip += groups * kStrip * 4) {
    const std::size_t count = std::min(kStrip, linear.columns - first);
    for (std::size_t i = 0; i < count; ++i) {
      TIDEGATE_CHECK(fill_row(source, linear, first + i, rows_.data() + i * groups));
    }
    std::memset(rows_.data() + count * groups, 0, (kStrip - count) * groups * sizeof(std::uint32_t));
    scatter(groups, strip);
  }
  return {};
}

/// Whether f16 keeps the precision of each row of words: no row is too large, and the
/// largest of each is at least the smallest normal number.
bool fit_half(const EncoderModel& model) {
  const WeightView& words = model.word_embeddings;
  if (words.type == DataType::f16) return true;
  constexpr std::uint32_t kSmallest = 0x38800000U;  // 2^-14
  constexpr std::uint32_t kLargest = 0x477FE000U;   // 65504
  const std::size_t hidden = model.config.hidden_size;
  AlignedArray<float> row(hidden);
  for (std::size_t i = 0; i < model.config.vocab_size; ++i) {
    widen(words.type, words.bytes.data() + i * hidden * byte_size(words.type), row.span());
    const std::uint32_t largest = largest_magnitude_bits(row.span());
    if (largest > kLargest || (largest < kSmallest && largest != 0)) return false;
  }
  return true;
}

}  // namespace

Result<PackedImage> pack_model(const EncoderModel& model, PackingPlan plan, const WeightRounder* rounder) {
  TIDEGATE_CHECK(check_plan(model, plan));
  if (plan.words == DataType::f16 && !fit_half(model)) plan.words = DataType::f32;
  PackedImage image{std::move(plan), {}};
  image.bytes = AlignedArray<std::byte>(image_size(model, image.plan));
  TIDEGATE_CHECK(Packer(model, image, rounder).pack());
  return image;
}

}  // namespace tidegate
