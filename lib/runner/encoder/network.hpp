// Network: the forward pass of a packed model over one group of sequences.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/team.hpp"
#include "runner/encoder/kernels.hpp"
#include "runner/encoder/linear_kind.hpp"
#include "runner/encoder/onednn_product.hpp"
#include "runner/encoder/packed_model.hpp"
#include "runner/encoder/workspace.hpp"

namespace tidegate {

/// One text of a group, as token ids.
struct Sequence {
  std::span<const std::int32_t> tokens;
  std::size_t item;  ///< place in the batch
};

/// A thread that works on a group, alone or as a member of a team that does so in step.
struct Hand {
  Scratch* scratch;
  Team* team = nullptr;  ///< null: alone
  std::size_t member = 0;
  ActivationObserver* observer = nullptr;  ///< for a hand that is alone, in an f32 network

  [[nodiscard]] std::size_t members() const noexcept { return team == nullptr ? 1 : team->size(); }
  [[nodiscard]] WorkShare share(std::size_t items) const noexcept { return Team::share_of(items, member, members()); }
  void meet() const noexcept {
    if (team != nullptr) team->meet();
  }
};

/// Immutable after load and thread-safe; a group brings its workspace, a thread its
/// scratch.
class Network {
 public:
  /// `model` and what `packed` views must outlive the network. With `method` products
  /// are oneDNN's, else the kernels'. Errors: those of `method`.
  [[nodiscard]] static Result<Network> create(const EncoderModel& model, PackedModel packed, const Kernels& kernels,
                                              OnednnMethod* method);

  /// For groups of at most `tokens` tokens. Throw std::bad_alloc.
  [[nodiscard]] Workspace make_workspace(std::size_t tokens) const;
  [[nodiscard]] Scratch make_scratch(std::size_t longest_sequence) const;

  /// Embeds a group of at least one sequence, whose tokens are in the vocabulary; every
  /// member of a team calls it alike. `prompt_tokens` leading tokens of each text are
  /// left out of pooling. The embeddings are rows of `workspace.pooled`,
  /// row_stride(dimension) apart, once all members have returned and unless one's
  /// `scratch->failure` is set. Allocates nothing but what oneDNN does in its products.
  void encode(std::span<const Sequence> group, std::size_t prompt_tokens, Workspace& workspace, const Hand& hand) const;

 private:
  struct Linear : PackedLinear {
    std::unique_ptr<OnednnProduct> onednn;  // null: the kernels'
  };
  struct Layer {
    Linear qkv, attention_output, intermediate, output;
    PackedNorm attention_norm, output_norm;
  };
  /// Rows [first, first + count) of a group, few enough to stay in a cache.
  struct Panel {
    std::size_t first;
    std::size_t count;
  };
  struct Pass;

  Network(const EncoderModel& model, const Kernels& kernels) : model_(&model), kernels_(&kernels) {}

  [[nodiscard]] static Result<Linear> bind(const PackedLinear& linear, OnednnMethod* method);
  [[nodiscard]] std::size_t widest_chunk() const noexcept;
  [[nodiscard]] Number input_number(std::size_t layer) const noexcept;
  [[nodiscard]] Number attention_number(const Layer& layer) const noexcept;
  [[nodiscard]] Rows stream_rows(Workspace& workspace, Number number) const noexcept;
  [[nodiscard]] NextInput next_input(Workspace& workspace, const PackedNorm& norm, Number number,
                                     std::size_t row) const noexcept;

  /// hidden = LayerNorm(word + position + type) of this hand's share of the rows, and its
  /// copy for layer 0.
  void embed(Pass& pass) const;
  void run_layer(Pass& pass, std::size_t index) const;
  void attend(Pass& pass, const Layer& layer) const;
  void finish_panel(Pass& pass, std::size_t index, Panel panel) const;
  /// Rows of oneDNN's product that fall to this hand.
  [[nodiscard]] static WorkShare row_share(const Pass& pass, const Linear& linear, std::size_t rows) noexcept;
  void multiply(Pass& pass, const Linear& linear, const Rows& x, std::size_t rows, WorkShare strips, float* sums,
                std::size_t sums_stride) const;
  /// target = activation(x * linear) in some strips of columns.
  void multiply_and_finish(Pass& pass, const Linear& linear, const Rows& x, std::size_t rows, WorkShare strips,
                           Activation activation, const Rows& target) const;
  /// target = activation(x * linear), this hand's share: of the columns, of the rows for oneDNN.
  void product_to_rows(Pass& pass, const Linear& linear, const Rows& x, std::size_t rows, Activation activation,
                       const Rows& target) const;
  /// workspace.sums = x * linear, this hand's share as above.
  void product_to_sums(Pass& pass, const Linear& linear, const Rows& x, std::size_t rows) const;
  /// hidden = LayerNorm(hidden + sums), this hand's share of the panel's rows.
  void add_and_normalize(Pass& pass, const Linear& linear, const Rows& x, const PackedNorm& norm, Number next,
                         Panel panel) const;
  [[nodiscard]] Rows narrowed(Pass& pass, RowBuffer& buffer, Number wanted, std::size_t width, Panel panel) const;
  void pool_texts(Pass& pass) const;
  void run_stages(Pass& pass) const;

  const EncoderModel* model_;
  const Kernels* kernels_;
  PackedModel packed_;
  std::vector<Layer> layers_;
  std::vector<Linear> dense_;
  std::size_t widest_stage_ = 0;
};

}  // namespace tidegate
