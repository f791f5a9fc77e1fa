// Modules: parts with heavy dependencies, opened only when asked for.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tidegate/runner.hpp"

namespace tidegate {

enum class Precision : std::uint8_t { f32 };

struct TextEncoderOptions {
  std::string folder;  ///< sentence-transformers model folder
  Precision precision = Precision::f32;
  std::uint32_t threads = 1;  ///< cores one batch may use, 1..256
  std::string prompt;         ///< name of a prompt in the model's config; empty = its default
  std::string module_path;    ///< libtidegate_encoder.so; empty = beside the library, then the loader's path
};

/// Loads the native text encoder (module `encoder`). Blocks while it reads and
/// checks the folder. Errors: not_found (folder, module), corrupt_data (which
/// file and tensor), unsupported (architecture, precision), version_mismatch.
[[nodiscard]] Result<std::unique_ptr<ModelRunner>> load_text_encoder(const TextEncoderOptions& options);

struct TorchScriptOptions {
  std::string file;           ///< TorchScript archive (.pt)
  std::string sha256;         ///< 64 hex digits the file must have; required: the file is code
  std::uint32_t threads = 1;  ///< intra-op threads of one call, 1..256; a thread that runs batches keeps the setting
  std::string module_path;    ///< libtidegate_torch.so; empty as above
};

/// Loads a TorchScript model (module `torch`). An item's tensors are the model's
/// arguments without the batch dimension; items of equal types and shapes run as one
/// call, and one by one when that call fails. An item answers the tensor, tuple, list
/// or dictionary of tensors that the model answers, without the batch dimension.
/// libtorch picks kernels by the size of a batch, so an item's bits may depend on its
/// neighbours: info().deterministic is false, answers are never cached or joined.
/// Errors: not_found (file, module, libtorch), corrupt_data (digest differs, not an
/// archive), unsupported (`forward` needs more than tensors), version_mismatch.
[[nodiscard]] Result<std::unique_ptr<ModelRunner>> load_torchscript(const TorchScriptOptions& options);

/// The tokenizer of a model folder alone, without its weights. Thread-safe.
class TextTokenizer {
 public:
  virtual ~TextTokenizer() = default;
  /// Token ids with the model's special tokens, truncated at the model's limit.
  /// Errors: invalid_argument (malformed UTF-8: says at which byte).
  [[nodiscard]] virtual Result<std::vector<std::int32_t>> encode(std::string_view text) const = 0;
};

/// Errors: as load_text_encoder.
[[nodiscard]] Result<std::unique_ptr<TextTokenizer>> load_tokenizer(const std::string& folder,
                                                                    const std::string& module_path = {});

/// What became of looking for a module.
struct ModuleReport {
  std::string name;                                        ///< "encoder", "torch"
  std::string path;                                        ///< file that was opened; empty if none was found
  std::string trouble;                                     ///< why it cannot be used and the remedy; empty = usable
  std::vector<std::pair<std::string, std::string>> facts;  ///< versions, instruction set chosen
};

/// Opens every known module and reports; takes up to a second where libtorch is present.
[[nodiscard]] std::vector<ModuleReport> probe_modules();

}  // namespace tidegate
