#include "runner/encoder/network.hpp"

#include <algorithm>
#include <cstring>

#include "base/try.hpp"
#include "runner/encoder/pooling.hpp"
#include "runner/encoder/widen.hpp"

namespace tidegate {
namespace {

AlignedBuffer read_all(const WeightView& view, std::size_t size) {
  AlignedBuffer values(size);
  if (!view.bytes.empty()) widen(view.type, view.bytes.data(), values.span());
  return values;
}

std::size_t rows_of(const WeightView& view) { return static_cast<std::size_t>(view.shape[0]); }
std::size_t columns_of(const WeightView& view) { return static_cast<std::size_t>(view.shape[1]); }

}  // namespace

// ---- load -------------------------------------------------------------------------

/// `parts` are matrices of one input, set side by side.
Result<Network::Linear> Network::pack(std::span<const LinearWeights* const> parts, ProductMethod& method) {
  const std::size_t inner = columns_of(parts.front()->weight);
  std::size_t columns = 0;
  for (const LinearWeights* part : parts) columns += rows_of(part->weight);
  Linear linear;
  linear.columns = columns;
  linear.bias = AlignedBuffer(columns);
  AlignedBuffer weights(columns * inner);
  std::size_t column = 0;
  for (const LinearWeights* part : parts) {
    const std::size_t own = rows_of(part->weight);
    widen(part->weight.type, part->weight.bytes.data(), weights.span().subspan(column * inner, own * inner));
    if (!part->bias.bytes.empty()) {
      widen(part->bias.type, part->bias.bytes.data(), linear.bias.span().subspan(column, own));
    }
    column += own;
  }
  TIDEGATE_TRY(linear.product, method.pack(weights.span(), inner, columns));
  return linear;
}

Network::Norm Network::read_norm(const NormWeights& weights) {
  return {read_all(weights.gamma, rows_of(weights.gamma)), read_all(weights.beta, rows_of(weights.beta))};
}

Result<void> Network::pack_layers(ProductMethod& method) {
  for (const LayerWeights& weights : model_->layers) {
    Layer layer;
    const LinearWeights* const qkv[] = {&weights.query, &weights.key, &weights.value};
    const LinearWeights* const attention_output[] = {&weights.attention_output};
    const LinearWeights* const intermediate[] = {&weights.intermediate};
    const LinearWeights* const output[] = {&weights.output};
    TIDEGATE_TRY(layer.qkv, pack(qkv, method));
    TIDEGATE_TRY(layer.attention_output, pack(attention_output, method));
    TIDEGATE_TRY(layer.intermediate, pack(intermediate, method));
    TIDEGATE_TRY(layer.output, pack(output, method));
    layer.attention_norm = read_norm(weights.attention_norm);
    layer.output_norm = read_norm(weights.output_norm);
    layers_.push_back(std::move(layer));
  }
  return {};
}

Result<void> Network::pack_stages(ProductMethod& method) {
  widest_stage_ = pooled_width(model_->pooling, model_->config.hidden_size);
  for (const auto& stage : model_->stages) {
    const auto* dense = std::get_if<DenseStage>(&stage);
    if (dense == nullptr) continue;
    const LinearWeights* const linear[] = {&dense->linear};
    TIDEGATE_TRY(Linear packed, pack(linear, method));
    widest_stage_ = std::max(widest_stage_, packed.columns);
    dense_.push_back({std::move(packed), dense->activation});
  }
  return {};
}

Result<Network> Network::create(const EncoderModel& model, const Kernels& kernels, ProductMethod& method) {
  Network network(model, kernels);
  const std::size_t hidden = model.config.hidden_size;
  network.positions_ = read_all(model.position_embeddings, model.max_tokens * hidden);
  network.token_type_ = read_all(model.token_type_embeddings, hidden);
  network.embedding_norm_ = read_norm(model.embedding_norm);
  TIDEGATE_CHECK(network.pack_layers(method));
  TIDEGATE_CHECK(network.pack_stages(method));
  return network;
}

Workspace Network::make_workspace(std::size_t tokens) const {
  const EncoderConfig& config = model_->config;
  const std::size_t rows = round_up(tokens, kRowUnit);
  const std::size_t hidden = row_stride(config.hidden_size);
  const std::size_t wide =
      row_stride(std::max<std::size_t>(3 * std::size_t{config.hidden_size}, config.intermediate_size));
  Workspace workspace;
  workspace.rows = rows;
  workspace.hidden = AlignedBuffer(rows * hidden);
  workspace.wide = AlignedBuffer(rows * wide);
  workspace.narrow = AlignedBuffer(rows * hidden);
  workspace.addend = AlignedBuffer(rows * hidden);
  workspace.attention = AlignedBuffer(attention_scratch(tokens, config.hidden_size / config.heads));
  workspace.pooled = AlignedBuffer(rows * row_stride(widest_stage_));
  workspace.staged = AlignedBuffer(dense_.empty() ? 0 : rows * row_stride(widest_stage_));
  return workspace;
}

// ---- forward pass -----------------------------------------------------------------

void Network::embed(std::span<const Sequence> group, Workspace& workspace) const {
  const std::size_t hidden = model_->config.hidden_size;
  const std::size_t stride = row_stride(hidden);
  const WeightView& words = model_->word_embeddings;
  const std::size_t row_bytes = hidden * byte_size(words.type);
  float* x = workspace.hidden.data();
  for (const Sequence& sequence : group) {
    for (std::size_t i = 0; i < sequence.tokens.size(); ++i) {
      const auto id = static_cast<std::size_t>(sequence.tokens[i]);
      widen(words.type, words.bytes.data() + id * row_bytes, {x + i * stride, hidden});
    }
    kernels_->residual_norm({x, stride, positions_.data(), hidden, token_type_.data(), embedding_norm_.gamma.data(),
                             embedding_norm_.beta.data(), model_->config.layer_norm_eps, sequence.tokens.size(),
                             hidden});
    x += sequence.tokens.size() * stride;
  }
}

void Network::attend(const Layer& layer, std::span<const Sequence> group, Workspace& workspace) const {
  const EncoderConfig& config = model_->config;
  const std::size_t qkv_stride = row_stride(3 * std::size_t{config.hidden_size});
  const std::size_t stride = row_stride(config.hidden_size);
  std::size_t row = 0;
  for (const Sequence& sequence : group) {
    kernels_->attention({workspace.wide.data() + row * qkv_stride, qkv_stride, layer.qkv.bias.data(),
                         workspace.narrow.data() + row * stride, stride, sequence.tokens.size(), config.heads,
                         config.hidden_size / config.heads, workspace.attention.data()});
    row += sequence.tokens.size();
  }
}

/// hidden = LayerNorm(hidden + addend + the product's bias)
void Network::add_and_normalize(const Linear& linear, const Norm& norm, std::size_t rows, Workspace& workspace) const {
  const std::size_t hidden = model_->config.hidden_size;
  const std::size_t stride = row_stride(hidden);
  kernels_->residual_norm({workspace.hidden.data(), stride, workspace.addend.data(), stride, linear.bias.data(),
                           norm.gamma.data(), norm.beta.data(), model_->config.layer_norm_eps, rows, hidden});
}

Result<void> Network::run_layer(const Layer& layer, std::span<const Sequence> group, std::size_t rows,
                                Workspace& workspace) const {
  const std::size_t intermediate = model_->config.intermediate_size;
  float* hidden = workspace.hidden.data();
  float* wide = workspace.wide.data();
  float* addend = workspace.addend.data();
  TIDEGATE_CHECK(layer.qkv.product->run({hidden, wide, rows}, workspace.product));
  attend(layer, group, workspace);
  TIDEGATE_CHECK(layer.attention_output.product->run({workspace.narrow.data(), addend, rows}, workspace.product));
  add_and_normalize(layer.attention_output, layer.attention_norm, rows, workspace);
  TIDEGATE_CHECK(layer.intermediate.product->run({hidden, wide, rows}, workspace.product));
  kernels_->bias_activation(
      {wide, row_stride(intermediate), layer.intermediate.bias.data(), model_->config.activation, rows, intermediate});
  TIDEGATE_CHECK(layer.output.product->run({wide, addend, rows}, workspace.product));
  add_and_normalize(layer.output, layer.output_norm, rows, workspace);
  return {};
}

/// The stages after pooling, over rows of `pooled`.
Result<void> Network::finish(std::size_t texts, Workspace& workspace) const {
  std::size_t width = pooled_width(model_->pooling, model_->config.hidden_size);
  std::size_t next_dense = 0;
  for (const auto& stage : model_->stages) {
    if (std::holds_alternative<NormalizeStage>(stage)) {
      for (std::size_t text = 0; text < texts; ++text) {
        normalize({workspace.pooled.data() + text * row_stride(width), width});
      }
      continue;
    }
    const Dense& dense = dense_[next_dense++];
    TIDEGATE_CHECK(
        dense.linear.product->run({workspace.pooled.data(), workspace.staged.data(), texts}, workspace.product));
    width = dense.linear.columns;
    kernels_->bias_activation(
        {workspace.staged.data(), row_stride(width), dense.linear.bias.data(), dense.activation, texts, width});
    std::swap(workspace.pooled, workspace.staged);
  }
  return {};
}

Result<void> Network::encode(std::span<const Sequence> group, std::size_t prompt_tokens, Workspace& workspace) const {
  const std::size_t hidden = model_->config.hidden_size;
  std::size_t rows = 0;
  for (const Sequence& sequence : group) rows += sequence.tokens.size();
  embed(group, workspace);
  for (const Layer& layer : layers_) TIDEGATE_CHECK(run_layer(layer, group, rows, workspace));
  const std::size_t stride = row_stride(pooled_width(model_->pooling, hidden));
  std::size_t row = 0;
  for (std::size_t text = 0; text < group.size(); ++text) {
    const TokenRows tokens{workspace.hidden.data() + row * row_stride(hidden), row_stride(hidden),
                           group[text].tokens.size(), hidden};
    pool(model_->pooling, tokens, prompt_tokens, {workspace.pooled.data() + text * stride, stride});
    row += group[text].tokens.size();
  }
  return finish(group.size(), workspace);
}

}  // namespace tidegate
