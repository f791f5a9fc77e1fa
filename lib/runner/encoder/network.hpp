// Network: a model's weights ready to multiply, and the forward pass over one group
// of sequences.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "runner/encoder/encoder_model.hpp"
#include "runner/encoder/product.hpp"

namespace tidegate {

/// One text of a group, as token ids.
struct Sequence {
  std::span<const std::int32_t> tokens;
  std::size_t item;  ///< place in the batch
};

/// Buffers of one thread, sized once for groups of up to `rows` tokens.
struct Workspace {
  std::size_t rows = 0;
  AlignedBuffer hidden;     ///< [rows, hidden]: the residual stream
  AlignedBuffer wide;       ///< [rows, max(3 hidden, intermediate)]
  AlignedBuffer narrow;     ///< [rows, hidden]: context, then a product's output
  AlignedBuffer addend;     ///< [rows, hidden]
  AlignedBuffer attention;  ///< scratch of the attention kernel
  AlignedBuffer pooled;     ///< [rows, widest stage]: one row a text
  AlignedBuffer staged;     ///< as `pooled`: a dense stage's output
  ProductScratch product;
};

/// Immutable after load and thread-safe; a thread brings its own workspace.
class Network {
 public:
  /// Widens and packs every matrix; the model must outlive the network, which reads
  /// word embeddings in place. Errors: those of `method`.
  [[nodiscard]] static Result<Network> create(const EncoderModel& model, const Kernels& kernels, ProductMethod& method);

  /// For groups of at most `tokens` tokens. Throws std::bad_alloc.
  [[nodiscard]] Workspace make_workspace(std::size_t tokens) const;

  /// Embeds a group of at least one sequence, whose tokens are in the vocabulary.
  /// `prompt_tokens` leading tokens of each text are left out of pooling. The
  /// embeddings are rows of `workspace.pooled`, row_stride(dimension) apart.
  [[nodiscard]] Result<void> encode(std::span<const Sequence> group, std::size_t prompt_tokens,
                                    Workspace& workspace) const;

 private:
  struct Norm {
    AlignedBuffer gamma;
    AlignedBuffer beta;
  };
  struct Linear {
    std::unique_ptr<Product> product;
    AlignedBuffer bias;
    std::size_t columns = 0;
  };
  struct Layer {
    Linear qkv, attention_output, intermediate, output;
    Norm attention_norm, output_norm;
  };
  struct Dense {
    Linear linear;
    Activation activation;
  };

  Network(const EncoderModel& model, const Kernels& kernels) : model_(&model), kernels_(&kernels) {}

  [[nodiscard]] static Result<Linear> pack(std::span<const LinearWeights* const> parts, ProductMethod& method);
  [[nodiscard]] static Norm read_norm(const NormWeights& weights);
  [[nodiscard]] Result<void> pack_layers(ProductMethod& method);
  [[nodiscard]] Result<void> pack_stages(ProductMethod& method);

  void embed(std::span<const Sequence> group, Workspace& workspace) const;
  [[nodiscard]] Result<void> run_layer(const Layer& layer, std::span<const Sequence> group, std::size_t rows,
                                       Workspace& workspace) const;
  void attend(const Layer& layer, std::span<const Sequence> group, Workspace& workspace) const;
  void add_and_normalize(const Linear& linear, const Norm& norm, std::size_t rows, Workspace& workspace) const;
  [[nodiscard]] Result<void> finish(std::size_t texts, Workspace& workspace) const;

  const EncoderModel* model_;
  const Kernels* kernels_;
  AlignedBuffer positions_;   // [max_tokens, hidden]
  AlignedBuffer token_type_;  // row 0: every token of a single text has type 0
  Norm embedding_norm_;
  std::vector<Layer> layers_;
  std::vector<Dense> dense_;  // the dense stages, in order
  std::size_t widest_stage_ = 0;
};

}  // namespace tidegate
