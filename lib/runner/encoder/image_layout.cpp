#include "runner/encoder/image_layout.hpp"

#include <fmt/format.h>

#include <cmath>

#include "base/try.hpp"

namespace tidegate {
namespace {

/// Hands out sections in order; with a null image it only adds up their sizes.
class Sections {
 public:
  explicit Sections(const std::byte* image) noexcept : image_(image) {}

  template <class T>
  const T* take(std::size_t count) noexcept {
    const auto* section = image_ == nullptr ? nullptr : reinterpret_cast<const T*>(image_ + size_);
    size_ += round_up(count * sizeof(T), kImageAlignment);
    return section;
  }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  const std::byte* image_;
  std::size_t size_ = 0;
};

PackedLinear take_linear(Sections& sections, Number number, std::size_t inner, std::size_t columns) {
  const std::size_t padded = round_up(columns, kStrip);
  PackedLinear linear;
  linear.number = number;
  linear.inner = inner;
  linear.columns = columns;
  linear.strips = sections.take<std::byte>(padded * groups_of(number, inner) * 4);
  if (number == Number::u8) {
    linear.column_scale = sections.take<float>(padded);
    linear.column_sum = sections.take<float>(padded);
  }
  linear.bias = sections.take<float>(padded);
  return linear;
}

/// `factors` belong to the product that the norm feeds.
PackedNorm take_norm(Sections& sections, std::size_t hidden, const std::vector<float>& factors) {
  const std::size_t padded = row_stride(hidden);
  PackedNorm norm;
  norm.gamma = sections.take<float>(padded);
  norm.beta = sections.take<float>(padded);
  norm.next_gamma = factors.empty() ? norm.gamma : sections.take<float>(padded);
  norm.next_beta = factors.empty() ? norm.beta : sections.take<float>(padded);
  return norm;
}

PackedLayer take_layer(Sections& sections, const EncoderConfig& config, const PackingPlan& plan, std::size_t index) {
  static const std::vector<float> kNone;
  const LayerPlan& own = plan.layers[index];
  const std::size_t hidden = config.hidden_size;
  const std::size_t wide = config.intermediate_size;
  PackedLayer layer;
  layer.qkv = take_linear(sections, own.number(LinearKind::qkv), hidden, 3 * hidden);
  layer.attention_output = take_linear(sections, own.number(LinearKind::attention_output), hidden, hidden);
  layer.intermediate = take_linear(sections, own.number(LinearKind::intermediate), hidden, wide);
  layer.output = take_linear(sections, own.number(LinearKind::output), wide, hidden);
  layer.attention_norm = take_norm(sections, hidden, own.intermediate_factors);
  const bool last = index + 1 == plan.layers.size();
  layer.output_norm = take_norm(sections, hidden, last ? kNone : plan.layers[index + 1].qkv_factors);
  return layer;
}

PackedModel lay_out(Sections& sections, const EncoderModel& model, const PackingPlan& plan) {
  const EncoderConfig& config = model.config;
  const std::size_t hidden = config.hidden_size;
  PackedModel packed;
  packed.word_type = plan.words.value_or(model.word_embeddings.type);
  packed.words = model.word_embeddings.bytes.data();
  if (plan.words) {
    packed.words = sections.take<std::byte>(config.vocab_size * hidden * byte_size(packed.word_type));
  }
  packed.positions = sections.take<float>(model.max_tokens * hidden);
  packed.token_type = sections.take<float>(row_stride(hidden));
  packed.embedding_norm = take_norm(sections, hidden, plan.layers.front().qkv_factors);
  for (std::size_t i = 0; i < plan.layers.size(); ++i) {
    packed.layers.push_back(take_layer(sections, config, plan, i));
  }
  for (const auto& stage : model.stages) {
    if (const auto* dense = std::get_if<DenseStage>(&stage)) {
      const Shape& shape = dense->linear.weight.shape;
      packed.dense.push_back(
          take_linear(sections, Number::f32, static_cast<std::size_t>(shape[1]), static_cast<std::size_t>(shape[0])));
    }
  }
  return packed;
}

Result<void> check_factors(const std::vector<float>& factors, std::size_t hidden, std::size_t layer) {
  if (!factors.empty() && factors.size() != hidden) {
    return Error(ErrorCode::invalid_argument,
                 fmt::format("layer {} has {} smoothing factors, expected {} or none", layer, factors.size(), hidden));
  }
  for (const float factor : factors) {
    if (std::isfinite(factor) && factor > 0) continue;
    return Error(ErrorCode::invalid_argument,
                 fmt::format("layer {} has the smoothing factor {}, expected a finite positive one", layer, factor));
  }
  return {};
}

}  // namespace

Result<void> check_plan(const EncoderModel& model, const PackingPlan& plan) {
  if (plan.layers.size() != model.config.layers || plan.layers.size() != model.layers.size()) {
    return Error(ErrorCode::invalid_argument, fmt::format("a plan for {} layers does not fit a model of {}",
                                                          plan.layers.size(), model.layers.size()));
  }
  for (std::size_t i = 0; i < plan.layers.size(); ++i) {
    TIDEGATE_CHECK(check_factors(plan.layers[i].qkv_factors, model.config.hidden_size, i));
    TIDEGATE_CHECK(check_factors(plan.layers[i].intermediate_factors, model.config.hidden_size, i));
    for (const Number number : plan.layers[i].numbers) {
      if (static_cast<std::size_t>(number) < kNumbers) continue;
      return Error(ErrorCode::invalid_argument, fmt::format("layer {} has an unknown number format", i));
    }
  }
  if (plan.words && *plan.words != DataType::f32 && *plan.words != DataType::f16 && *plan.words != DataType::bf16) {
    return Error(ErrorCode::invalid_argument, "word embeddings are packed as f32, f16 or bf16 only");
  }
  return {};
}

std::size_t image_size(const EncoderModel& model, const PackingPlan& plan) {
  Sections sections(nullptr);
  (void)lay_out(sections, model, plan);
  return sections.size();
}

PackedModel view_image(const EncoderModel& model, const PackingPlan& plan, const std::byte* image) {
  Sections sections(image);
  return lay_out(sections, model, plan);
}

}  // namespace tidegate
