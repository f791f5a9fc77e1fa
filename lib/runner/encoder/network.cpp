#include "runner/encoder/network.hpp"

#include <algorithm>
#include <utility>

#include "base/try.hpp"
#include "runner/encoder/pooling.hpp"
#include "runner/encoder/widen.hpp"

namespace tidegate {
namespace {

/// Strips of columns whose sums are made and finished together: 24 KiB with
/// kPanelRows, so that they are still in the level-1 cache.
constexpr std::size_t kChunkStrips = 4;

std::size_t strips_of(std::size_t columns) noexcept { return round_up(columns, kStrip) / kStrip; }

/// What is written before `narrowed` makes u8 of it: a row's scale is known at its end.
Number before_narrowing(Number wanted) noexcept { return wanted == Number::u8 ? Number::f32 : wanted; }

Dequantizer dequantizer(const PackedLinear& linear, const RowScale* rows, std::size_t column) noexcept {
  if (linear.number != Number::u8) return {linear.number, nullptr, nullptr, linear.bias + column, nullptr};
  return {linear.number, linear.column_scale + column, linear.column_sum + column, linear.bias + column, rows};
}

}  // namespace

/// What one hand carries through a pass.
struct Network::Pass {
  std::span<const Sequence> group;
  std::size_t prompt_tokens;
  std::size_t rows;
  Workspace& workspace;
  const Hand& hand;

  [[nodiscard]] Scratch& scratch() const noexcept { return *hand.scratch; }
  /// Panels of like heights, so that none is left with a few rows.
  template <class F>
  void each_panel(F&& work) const {
    const std::size_t panels = (rows + kPanelRows - 1) / kPanelRows;
    for (std::size_t i = 0; i < panels; ++i) {
      const WorkShare share = Team::share_of(rows, i, panels);
      work(Panel{share.begin, share.end - share.begin});
    }
  }
  void observe(std::size_t layer, LinearKind kind, const Rows& x, std::size_t count, std::size_t width) const {
    if (hand.observer == nullptr) return;
    hand.observer->observe(layer, kind, reinterpret_cast<const float*>(x.data), x.stride, count, width);
  }
};

// ---- load -------------------------------------------------------------------------

Result<Network::Linear> Network::bind(const PackedLinear& linear, OnednnMethod* method) {
  Linear bound{linear, nullptr};
  if (method != nullptr) {
    TIDEGATE_TRY(bound.onednn, method->pack(linear));
  }
  return bound;
}

Result<Network> Network::create(const EncoderModel& model, PackedModel packed, const Kernels& kernels,
                                OnednnMethod* method) {
  Network network(model, kernels);
  for (const PackedLayer& from : packed.layers) {
    Layer layer;
    TIDEGATE_TRY(layer.qkv, bind(from.qkv, method));
    TIDEGATE_TRY(layer.attention_output, bind(from.attention_output, method));
    TIDEGATE_TRY(layer.intermediate, bind(from.intermediate, method));
    TIDEGATE_TRY(layer.output, bind(from.output, method));
    layer.attention_norm = from.attention_norm;
    layer.output_norm = from.output_norm;
    network.layers_.push_back(std::move(layer));
  }
  network.widest_stage_ = pooled_width(model.pooling, model.config.hidden_size);
  for (const PackedLinear& from : packed.dense) {
    TIDEGATE_TRY(Linear dense, bind(from, nullptr));  // a row a text: not worth oneDNN's panels
    network.widest_stage_ = std::max(network.widest_stage_, dense.columns);
    network.dense_.push_back(std::move(dense));
  }
  network.packed_ = std::move(packed);
  return network;
}

std::size_t Network::widest_chunk() const noexcept {
  std::size_t widest = kChunkStrips * kStrip;
  for (const Layer& layer : layers_) {
    for (const Linear* linear : {&layer.qkv, &layer.intermediate}) {
      if (linear->onednn != nullptr) widest = std::max(widest, row_stride(linear->columns));
    }
  }
  return widest;
}

/// What layer `layer` reads; behind the last one there is nobody.
Number Network::input_number(std::size_t layer) const noexcept {
  return layer < layers_.size() ? layers_[layer].qkv.number : Number::f32;
}

Number Network::attention_number(const Layer& layer) const noexcept {
  return layer.qkv.number == Number::f32 ? Number::f32 : kernels_->attention_number;
}

/// The residual stream as a product wants it.
Rows Network::stream_rows(Workspace& workspace, Number number) const noexcept {
  Rows rows = workspace.narrow.rows(number);
  if (number == Number::f32) rows.data = reinterpret_cast<std::byte*>(workspace.hidden.data());
  return rows;
}

NextInput Network::next_input(Workspace& workspace, const PackedNorm& norm, Number number,
                              std::size_t row) const noexcept {
  if (number == Number::f32) return {number, nullptr, 0, nullptr, norm.gamma, norm.beta};
  const Rows rows = workspace.narrow.rows(number).from(row);
  return {number, rows.data, rows.stride, rows.scales, norm.next_gamma, norm.next_beta};
}

Workspace Network::make_workspace(std::size_t tokens) const {
  const EncoderConfig& config = model_->config;
  const std::size_t rows = round_up(tokens, kPanelRows);
  Workspace workspace;
  workspace.tokens = tokens;
  workspace.hidden = AlignedBuffer(rows * row_stride(config.hidden_size));
  workspace.narrow = RowBuffer(rows, config.hidden_size);
  workspace.qkv = RowBuffer(rows, 3 * std::size_t{config.hidden_size});
  workspace.context = RowBuffer(rows, config.hidden_size);
  workspace.wide = RowBuffer(kPanelRows, config.intermediate_size);
  for (const Layer& layer : layers_) {
    for (const Number number : {layer.qkv.number, layer.intermediate.number}) {
      if (number != Number::f32) workspace.narrow.allow(number);
    }
    workspace.qkv.allow(attention_number(layer));
    for (const Number number : {layer.attention_output.number, before_narrowing(layer.attention_output.number)}) {
      workspace.context.allow(number);
    }
    for (const Number number : {layer.output.number, before_narrowing(layer.output.number)}) {
      workspace.wide.allow(number);
    }
  }
  workspace.sums = AlignedBuffer(kPanelRows * row_stride(config.hidden_size));
  workspace.pooled = AlignedBuffer(tokens * row_stride(widest_stage_));
  workspace.staged = AlignedBuffer(dense_.empty() ? 0 : tokens * row_stride(widest_stage_));
  return workspace;
}

Scratch Network::make_scratch(std::size_t longest_sequence) const {
  Scratch scratch;
  scratch.sums = AlignedBuffer(kPanelRows * widest_chunk());
  scratch.attention =
      AlignedBuffer(attention_scratch(longest_sequence, model_->config.hidden_size / model_->config.heads));
  std::size_t onednn = 0;
  for (const Layer& layer : layers_) {
    for (const Linear* linear : {&layer.qkv, &layer.attention_output, &layer.intermediate, &layer.output}) {
      if (linear->onednn != nullptr) onednn = std::max(onednn, linear->onednn->scratch_bytes());
    }
  }
  scratch.onednn = AlignedArray<std::byte>(onednn);
  return scratch;
}

// ---- products -----------------------------------------------------------------------

WorkShare Network::row_share(const Pass& pass, const Linear& linear, std::size_t rows) noexcept {
  const std::size_t unit = linear.onednn->unit();
  const WorkShare units = pass.hand.share((rows + unit - 1) / unit);
  return {std::min(units.begin * unit, rows), std::min(units.end * unit, rows)};
}

void Network::multiply(Pass& pass, const Linear& linear, const Rows& x, std::size_t rows, WorkShare strips, float* sums,
                       std::size_t sums_stride) const {
  const PhaseWatch watch(pass.scratch().times, Phase::products);
  if (linear.onednn != nullptr) {
    auto done = linear.onednn->run({x.data, sums, rows}, pass.scratch().onednn.data());
    if (!done) pass.scratch().failure = std::move(done).error();
    return;
  }
  const std::size_t groups = groups_of(linear.number, linear.inner);
  const std::byte* weights = linear.strips + strips.begin * groups * kStrip * 4;
  kernels_->product[static_cast<std::size_t>(linear.number)](
      {x.data, x.stride, weights, sums, sums_stride, rows, groups, (strips.end - strips.begin) * kStrip});
}

void Network::multiply_and_finish(Pass& pass, const Linear& linear, const Rows& x, std::size_t rows, WorkShare strips,
                                  Activation activation, const Rows& target) const {
  float* sums = pass.scratch().sums.data();
  const std::size_t column = strips.begin * kStrip;
  const std::size_t stride = row_stride((strips.end - strips.begin) * kStrip);
  multiply(pass, linear, x, rows, strips, sums, stride);
  const PhaseWatch watch(pass.scratch().times, Phase::epilogues);
  kernels_->finish({sums, stride, dequantizer(linear, x.scales, column), activation, target.number,
                    target.at(0, column), target.stride, rows, std::min(strips.end * kStrip, linear.columns) - column});
}

void Network::product_to_rows(Pass& pass, const Linear& linear, const Rows& x, std::size_t rows, Activation activation,
                              const Rows& target) const {
  const std::size_t strips = strips_of(linear.columns);
  if (linear.onednn != nullptr) {
    const WorkShare own = row_share(pass, linear, rows);
    if (own.begin == own.end) return;
    return multiply_and_finish(pass, linear, x.from(own.begin), own.end - own.begin, {0, strips}, activation,
                               target.from(own.begin));
  }
  const WorkShare share = pass.hand.share(strips);
  for (std::size_t strip = share.begin; strip < share.end; strip += kChunkStrips) {
    const WorkShare chunk{strip, std::min(strip + kChunkStrips, share.end)};
    multiply_and_finish(pass, linear, x, rows, chunk, activation, target);
  }
}

void Network::product_to_sums(Pass& pass, const Linear& linear, const Rows& x, std::size_t rows) const {
  const std::size_t stride = row_stride(linear.columns);
  const std::size_t strips = strips_of(linear.columns);
  float* sums = pass.workspace.sums.data();
  if (linear.onednn != nullptr) {
    const WorkShare own = row_share(pass, linear, rows);
    if (own.begin == own.end) return;
    return multiply(pass, linear, x.from(own.begin), own.end - own.begin, {0, strips}, sums + own.begin * stride,
                    stride);
  }
  const WorkShare share = pass.hand.share(strips);
  if (share.begin < share.end) multiply(pass, linear, x, rows, share, sums + share.begin * kStrip, stride);
}

void Network::add_and_normalize(Pass& pass, const Linear& linear, const Rows& x, const PackedNorm& norm, Number next,
                                Panel panel) const {
  const PhaseWatch watch(pass.scratch().times, Phase::epilogues);
  const std::size_t hidden = model_->config.hidden_size;
  const std::size_t stride = row_stride(hidden);
  const WorkShare share = pass.hand.share(panel.count);
  const std::size_t row = panel.first + share.begin;
  kernels_->norm({pass.workspace.hidden.data() + row * stride, stride,
                  pass.workspace.sums.data() + share.begin * stride, stride,
                  dequantizer(linear, x.scales + share.begin, 0), norm.gamma, norm.beta, model_->config.layer_norm_eps,
                  next_input(pass.workspace, norm, next, row), share.end - share.begin, hidden});
}

/// A panel of `buffer` in the format wanted, made from its f32 rows where that is u8.
Rows Network::narrowed(Pass& pass, RowBuffer& buffer, Number wanted, std::size_t width, Panel panel) const {
  const Rows rows = buffer.rows(wanted).from(panel.first);
  if (wanted != Number::u8) return rows;
  {
    const PhaseWatch watch(pass.scratch().times, Phase::epilogues);
    const WorkShare share = pass.hand.share(panel.count);
    const Rows from = buffer.rows(Number::f32).from(panel.first + share.begin);
    const Rows to = rows.from(share.begin);
    kernels_->narrow({reinterpret_cast<const float*>(from.data), from.stride, reinterpret_cast<std::uint8_t*>(to.data),
                      to.stride, to.scales, share.end - share.begin, width});
  }
  pass.hand.meet();
  return rows;
}

// ---- forward pass ---------------------------------------------------------------------

void Network::embed(Pass& pass) const {
  const PhaseWatch watch(pass.scratch().times, Phase::other);
  const std::size_t hidden = model_->config.hidden_size;
  const std::size_t stride = row_stride(hidden);
  const std::size_t row_bytes = hidden * byte_size(packed_.word_type);
  const PackedNorm& norm = packed_.embedding_norm;
  const WorkShare share = pass.hand.share(pass.rows);
  std::size_t first = 0;
  for (const Sequence& sequence : pass.group) {
    const std::size_t begin = std::max(share.begin, first);
    const std::size_t end = std::min(share.end, first + sequence.tokens.size());
    for (std::size_t row = begin; row < end; ++row) {
      const auto id = static_cast<std::size_t>(sequence.tokens[row - first]);
      widen(packed_.word_type, packed_.words + id * row_bytes, {pass.workspace.hidden.data() + row * stride, hidden});
    }
    if (begin < end) {
      kernels_->norm({pass.workspace.hidden.data() + begin * stride, stride,
                      packed_.positions + (begin - first) * hidden, hidden,
                      Dequantizer{Number::f32, nullptr, nullptr, packed_.token_type, nullptr}, norm.gamma, norm.beta,
                      model_->config.layer_norm_eps, next_input(pass.workspace, norm, input_number(0), begin),
                      end - begin, hidden});
    }
    first += sequence.tokens.size();
  }
}

void Network::attend(Pass& pass, const Layer& layer) const {
  const PhaseWatch watch(pass.scratch().times, Phase::attention);
  const std::size_t heads = model_->config.heads;
  const Rows qkv = pass.workspace.qkv.rows(attention_number(layer));
  const Rows context = pass.workspace.context.rows(before_narrowing(layer.attention_output.number));
  std::size_t row = 0;
  std::size_t item = 0;
  for (const Sequence& sequence : pass.group) {
    for (std::size_t head = 0; head < heads; ++head, ++item) {
      if (item % pass.hand.members() != pass.hand.member) continue;
      kernels_->attention({qkv.number, qkv.at(row, 0), qkv.stride, context.number, context.at(row, 0), context.stride,
                           sequence.tokens.size(), head, heads, model_->config.hidden_size / heads,
                           pass.scratch().attention.data()});
    }
    row += sequence.tokens.size();
  }
}

/// A panel through everything behind attention.
void Network::finish_panel(Pass& pass, std::size_t index, Panel panel) const {
  const Layer& layer = layers_[index];
  Workspace& workspace = pass.workspace;
  const EncoderConfig& config = model_->config;
  const Rows context = narrowed(pass, workspace.context, layer.attention_output.number, config.hidden_size, panel);
  pass.observe(index, LinearKind::attention_output, context, panel.count, config.hidden_size);
  product_to_sums(pass, layer.attention_output, context, panel.count);
  pass.hand.meet();
  add_and_normalize(pass, layer.attention_output, context, layer.attention_norm, layer.intermediate.number, panel);
  pass.hand.meet();

  const Rows x = stream_rows(workspace, layer.intermediate.number).from(panel.first);
  pass.observe(index, LinearKind::intermediate, x, panel.count, config.hidden_size);
  product_to_rows(pass, layer.intermediate, x, panel.count, config.activation,
                  workspace.wide.rows(before_narrowing(layer.output.number)));
  pass.hand.meet();
  const Rows wide = narrowed(pass, workspace.wide, layer.output.number, config.intermediate_size, {0, panel.count});
  pass.observe(index, LinearKind::output, wide, panel.count, config.intermediate_size);
  product_to_sums(pass, layer.output, wide, panel.count);
  pass.hand.meet();
  add_and_normalize(pass, layer.output, wide, layer.output_norm, input_number(index + 1), panel);
  pass.hand.meet();
}

void Network::run_layer(Pass& pass, std::size_t index) const {
  const Layer& layer = layers_[index];
  const Rows x = stream_rows(pass.workspace, layer.qkv.number);
  const Rows qkv = pass.workspace.qkv.rows(attention_number(layer));
  pass.observe(index, LinearKind::qkv, x, pass.rows, model_->config.hidden_size);
  pass.each_panel([&](Panel panel) {
    product_to_rows(pass, layer.qkv, x.from(panel.first), panel.count, Activation::identity, qkv.from(panel.first));
  });
  pass.hand.meet();
  attend(pass, layer);
  pass.hand.meet();
  pass.each_panel([&](Panel panel) { finish_panel(pass, index, panel); });
}

// ---- pooling and what follows -----------------------------------------------------------

void Network::pool_texts(Pass& pass) const {
  const std::size_t hidden = model_->config.hidden_size;
  const std::size_t stride = row_stride(pooled_width(model_->pooling, hidden));
  std::size_t row = 0;
  for (std::size_t text = 0; text < pass.group.size(); ++text) {
    const TokenRows tokens{pass.workspace.hidden.data() + row * row_stride(hidden), row_stride(hidden),
                           pass.group[text].tokens.size(), hidden};
    pool(model_->pooling, tokens, pass.prompt_tokens, {pass.workspace.pooled.data() + text * stride, stride});
    row += pass.group[text].tokens.size();
  }
}

void Network::run_stages(Pass& pass) const {
  Workspace& workspace = pass.workspace;
  const std::size_t texts = pass.group.size();
  std::size_t width = pooled_width(model_->pooling, model_->config.hidden_size);
  std::size_t next_dense = 0;
  for (const auto& stage : model_->stages) {
    if (std::holds_alternative<NormalizeStage>(stage)) {
      for (std::size_t text = 0; text < texts; ++text) {
        normalize({workspace.pooled.data() + text * row_stride(width), width});
      }
      continue;
    }
    const Linear& dense = dense_[next_dense++];
    const std::size_t stride = row_stride(dense.columns);
    kernels_->product[0]({workspace.pooled.data(), row_stride(width), dense.strips, workspace.staged.data(), stride,
                          texts, groups_of(Number::f32, dense.inner), round_up(dense.columns, kStrip)});
    width = dense.columns;
    kernels_->finish({workspace.staged.data(), stride, dequantizer(dense, nullptr, 0),
                      std::get<DenseStage>(stage).activation, Number::f32, workspace.pooled.data(), stride, texts,
                      width});
  }
}

void Network::encode(std::span<const Sequence> group, std::size_t prompt_tokens, Workspace& workspace,
                     const Hand& hand) const {
  std::size_t rows = 0;
  for (const Sequence& sequence : group) rows += sequence.tokens.size();
  Pass pass{group, prompt_tokens, rows, workspace, hand};
  hand.scratch->failure.reset();
  embed(pass);
  hand.meet();
  for (std::size_t layer = 0; layer < layers_.size(); ++layer) run_layer(pass, layer);
  if (hand.member != 0) return;
  const PhaseWatch watch(hand.scratch->times, Phase::other);
  pool_texts(pass);
  run_stages(pass);
}

}  // namespace tidegate
