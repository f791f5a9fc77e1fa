// TorchRunner: a TorchScript file as a ModelRunner.
#pragma once

#include <memory>
#include <span>

#include "runner/torch/torch_model.hpp"
#include "tidegate/modules.hpp"

namespace tidegate {

/// Items of equal types and shapes are stacked and run as one call of `forward`; when
/// that call fails, they run one by one, so that one bad item fails alone. libtorch
/// chooses kernels by the size of the batch, so an item's bits may depend on its
/// neighbours: answers are marked not deterministic and are never cached or joined.
class TorchRunner final : public ModelRunner {
 public:
  /// Reads the file once: the bytes whose digest was checked are the bytes that are
  /// loaded. Errors: as load_torchscript; invalid_argument (names field and range).
  [[nodiscard]] static Result<std::unique_ptr<ModelRunner>> create(const TorchScriptOptions& options);

  TorchRunner(std::unique_ptr<TorchModel> model, ModelInfo info, ItemRows rows)
      : model_(std::move(model)), info_(std::move(info)), rows_(rows) {}

  [[nodiscard]] const ModelInfo& info() const noexcept override { return info_; }

  /// A size's tokens are the longest leading dimension of the item's tensors; with leading
  /// rows as row_size.
  /// Errors: invalid_argument (a text, a wrong number of tensors, a boolean that is
  /// neither 0 nor 1).
  [[nodiscard]] Result<PreparedInput> prepare(Input input) override;

  void run(std::span<BatchItem> batch) override;

  [[nodiscard]] Result<std::vector<PreparedInput>> split(const PreparedInput& input, const ItemSize& limit) override;
  [[nodiscard]] Result<std::vector<Tensor>> join(std::vector<std::vector<Tensor>> parts) override;

 private:
  void run_group(std::span<BatchItem> batch, std::span<const std::size_t> group);

  std::unique_ptr<TorchModel> model_;
  ModelInfo info_;
  ItemRows rows_;
};

}  // namespace tidegate
