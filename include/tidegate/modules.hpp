// Modules: parts with heavy dependencies, opened only when asked for.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tidegate/runner.hpp"

namespace tidegate {

/// Number format of the products. `automatic` takes the fastest on this machine whose
/// embeddings of a probe set agree with f32's closely enough (docs/encoder.md).
enum class Precision : std::uint8_t { f32, bf16, int8, automatic };

/// "f32", "bf16", "int8", "auto"
[[nodiscard]] constexpr std::string_view to_string(Precision precision) noexcept {
  switch (precision) {
    case Precision::f32: return "f32";
    case Precision::bf16: return "bf16";
    case Precision::int8: return "int8";
    case Precision::automatic: return "auto";
  }
  return "unknown";
}
[[nodiscard]] std::optional<Precision> precision_of(std::string_view name) noexcept;

struct TextEncoderOptions {
  std::string folder;  ///< sentence-transformers model folder
  Precision precision = Precision::f32;
  std::uint32_t threads = 1;  ///< cores one batch may use, 1..256
  std::string prompt;         ///< name of a prompt in the model's config; empty = its default
  std::string module_path;    ///< libtidegate_encoder.so; empty = beside the library, then the loader's path
  /// Instruction set, "plain", "avx2", "avx512", "avx512_vnni" or "avx512_bf16"; empty =
  /// the best this machine has. The bits of an embedding may differ between them.
  std::string isa;
  /// Texts like those to come, from which int8 learns how far activations reach. Empty:
  /// packed weights are taken whatever texts made them, and made by a built-in set where there
  /// are none. Given, weights that other texts made are packed anew.
  std::vector<std::string> calibration_texts;
  /// Folder of the packed bf16 and int8 weights; empty = the model folder. Where it cannot
  /// be written the weights are packed anew at every load, and a note says so.
  std::string pack_folder;
  /// Called on the loading thread with the part done, 0 to 1, while packing takes long.
  std::function<void(double done)> progress;
};

/// Loads the native text encoder (module `encoder`). Blocks while it reads and
/// checks the folder; the first load of bf16, int8 or automatic takes seconds to pack
/// the weights, judge them against f32 and store both for later loads.
/// Errors: not_found (folder, module), corrupt_data (which file and tensor),
/// unsupported (architecture, instruction set), version_mismatch; invalid_argument
/// (threads, prompt, isa).
[[nodiscard]] Result<std::unique_ptr<ModelRunner>> load_text_encoder(const TextEncoderOptions& options);

/// profile_text_encoder takes batches up to this.
inline constexpr std::size_t kLargestProfileBatch = 65536;

/// Where a text encoder's time goes. Times are sums over its threads, all of whose time
/// in the encoder they share out; texts are tokenized by one thread.
struct EncoderProfile {
  std::string precision;  ///< that was run: what `automatic` chose
  std::string isa;
  std::string products_by;  ///< "kernels": the encoder's own; "onednn": where the processor has tiles (AMX)
  std::uint64_t texts = 0;
  std::uint64_t tokens = 0;
  Duration wall{};  ///< of the batches, tokenization included
  Duration tokenize{}, products{}, attention{}, epilogues{};
  Duration other{};         ///< embedding, pooling, threads waiting for one another
  double product_rate = 0;  ///< operations/s in products of one thread (a multiply-add is two)
  double peak_f32 = 0;      ///< operations/s of one thread's product kernel on operands in its
  double peak_bf16 = 0;     ///< caches of levels 1 and 2, measured just before
  double peak_int8 = 0;
};

/// Encodes `texts` in batches of `batch_size` (1..kLargestProfileBatch) and measures. Blocks; loads a
/// runner of its own. Errors: as load_text_encoder; invalid_argument (a text, no texts).
[[nodiscard]] Result<EncoderProfile> profile_text_encoder(const TextEncoderOptions& options,
                                                          std::span<const std::string> texts, std::size_t batch_size);

struct TorchScriptOptions {
  std::string file;           ///< TorchScript archive (.pt)
  std::string sha256;         ///< 64 hex digits the file must have; required: the file is code
  std::uint32_t threads = 1;  ///< intra-op threads of one call, 1..256; a thread that runs batches keeps the setting
  std::string module_path;    ///< libtidegate_torch.so; empty as above
  /// leading: an item's tensors are the model's arguments with the batch dimension, which is
  /// its rows; so are its answers. Items of equal types and rows' shapes run as one call.
  ItemRows rows = ItemRows::one;
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
  std::string name;                                        ///< "encoder", "torch", "rocksdb"
  std::string path;                                        ///< file that was opened; empty if none was found
  std::string trouble;                                     ///< why it cannot be used and the remedy; empty = usable
  std::vector<std::pair<std::string, std::string>> facts;  ///< versions, instruction set chosen
};

/// Opens every known module and reports; takes up to a second where libtorch is present.
[[nodiscard]] std::vector<ModuleReport> probe_modules();

}  // namespace tidegate
