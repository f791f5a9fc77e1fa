// TorchModel: one TorchScript module, spoken to in our own types.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tidegate/runner.hpp"
#include "tidegate/tensor.hpp"

namespace tidegate {

/// {"libtorch", "2.13.0"}, {"onednn", "3.12.0"}, ...; asked of the libraries that run.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> torch_facts();

/// Thread-safe after load, as long as the script does not write to its own attributes.
class TorchModel {
 public:
  /// Builds the module from the archive's bytes, on the CPU, in evaluation mode. This
  /// runs code from the archive. Errors: corrupt_data (not an archive), unsupported (no
  /// `forward`, or one that needs arguments other than tensors), version_mismatch (the
  /// libtorch that was found is not the one the module was built with).
  [[nodiscard]] static Result<std::unique_ptr<TorchModel>> load(std::string bytes, std::uint32_t threads);

  virtual ~TorchModel() = default;

  /// How many tensors `forward` takes.
  [[nodiscard]] virtual std::size_t least_arguments() const noexcept = 0;
  [[nodiscard]] virtual std::size_t most_arguments() const noexcept = 0;

  /// One call of `forward` on the items stacked along a new leading dimension, or, where
  /// they lead with rows, along that; the answers, split again, one list of tensors an item. All
  /// items must have the types and shapes of the first, but for the rows. Blocks. The calling thread's intra-op thread
  /// count is set to the model's and stays so. Errors: backend_failed (the script's own reason), out_of_memory,
  /// unsupported (an answer that is not tensors with the batch as leading dimension).
  [[nodiscard]] virtual Result<std::vector<std::vector<Tensor>>> forward(
      std::span<const std::vector<Tensor>* const> items, ItemRows rows) const = 0;
};

}  // namespace tidegate
