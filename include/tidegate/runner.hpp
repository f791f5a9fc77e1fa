// ModelRunner: what runs a batch. Built-in runners and how to write one.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tidegate/request.hpp"

namespace tidegate {

/// What an item costs a batch. All three are capped by BatchingOptions.
struct ItemSize {
  std::uint32_t rows = 1;    ///< items, >= 1
  std::uint64_t tokens = 1;  ///< units of work, >= 1 (tokens for text)
  std::uint64_t bytes = 0;   ///< memory the queued item holds
};

/// An input made ready for `run` by the same runner (or one with equal fingerprint).
struct PreparedInput {
  Input input;
  std::vector<std::int32_t> tokens;  ///< token ids, special tokens included; empty for non-text
  ItemSize size{};
  /// Items of different signatures never share a batch: of models that compute a batch in one
  /// piece, a number for data types and dimensions. Equal for all = any may meet.
  std::uint64_t signature = 0;
};

/// Whether an item of an iterative model has another step.
enum class StepEnd : std::uint8_t { done, proceeds };

/// One item of a batch. `output` starts as an `internal` error; `run` replaces it.
struct BatchItem {
  const PreparedInput* input = nullptr;
  Result<std::vector<Tensor>> output = Error(ErrorCode::internal, "the runner gave no answer for this item");

  // For iterative models (ModelInfo::iterative); others leave them alone.
  StepEnd step = StepEnd::done;   ///< `proceeds`: `output` is not looked at
  ItemSize next_size{};           ///< where it proceeds: what the next step costs its batch
  std::vector<Tensor> emitted{};  ///< a chunk for the consumer; empty = none. Dropped with a failed `output`
  std::shared_ptr<void> state{};  ///< the runner's own, from step to step; empty in the first
};

/// How a runner lays out items of different lengths.
enum class BatchLayout : std::uint8_t {
  packed,  ///< one behind the other: a batch costs the sum of its tokens
  padded,  ///< every row as long as the longest: items of like length should meet
};

/// What the leading dimension of an item's tensors means.
enum class ItemRows : std::uint8_t {
  one,      ///< nothing: an item is one row, its tensors have no batch dimension
  leading,  ///< rows, as many in every tensor, at least one. An item larger than a batch runs in parts.
};

/// Facts of a loaded model, constant over its life.
struct ModelInfo {
  std::string kind;  ///< "encoder", "torchscript", "callback", "synthetic"
  /// Digest of everything that decides the answers: weights, tokenizer, pooling,
  /// precision, limits, kernel set. Equal fingerprints give equal bits.
  Digest fingerprint{};
  bool deterministic = true;     ///< false: answers are never cached or joined
  std::uint64_t max_tokens = 0;  ///< longest item after truncation; 0 = no limit
  BatchLayout layout = BatchLayout::packed;
  /// An item may take several steps: each call of `run` is one of them, and all steps of an
  /// item run on one runner, one at a time. Between them only its `state` is kept, which may be
  /// destroyed on any thread once the item is done, failed or given up.
  bool iterative = false;
  /// A step that failed has left the states as they were: its items may run it again.
  bool repeatable_steps = false;
  std::string variant;             ///< of the model, as Response::variant: "f32", "int8", ...; may be empty
  std::vector<std::string> notes;  ///< for `doctor`: kernel set, why a faster one was refused
  std::uint32_t threads = 1;       ///< cores one batch uses
  /// A few texts of different length to measure the model with when it is loaded; empty
  /// = it cannot be measured without its user's inputs (CalibrationOptions::inputs).
  std::vector<std::string> sample_texts{};
  std::string folder{};  ///< where files that belong to the model may be kept; empty = nowhere
  /// Digest of all that `prepare` depends on, in models whose PreparedInput keeps the
  /// input: two with equal ones run each other's prepared inputs. Zero = not known.
  Digest preparation{};
};

/// Runs batches of one model. Thread rules: `prepare` is called on callers'
/// threads, concurrently with everything, and so are `split` and `join`; `run` by at most `concurrency` threads
/// of the engine at a time (ReplicaOptions). Exceptions that escape any are
/// caught and become backend_failed / host_failed for the items concerned.
class ModelRunner {
 public:
  virtual ~ModelRunner() = default;
  [[nodiscard]] virtual const ModelInfo& info() const noexcept = 0;

  /// Checks and readies one input (a text is tokenized and truncated here).
  /// Blocks for CPU work in proportion to the input only.
  /// Errors: invalid_argument (wrong kind of input, malformed UTF-8, ...).
  [[nodiscard]] virtual Result<PreparedInput> prepare(Input input) = 0;

  /// Computes the batch and sets every item's `output`. Blocks until done.
  virtual void run(std::span<BatchItem> batch) = 0;

  /// An input that breaks a cap of a batch as parts that do not, in order. What `join` makes of
  /// the parts' answers must be bit for bit what the whole would have been answered.
  /// Errors: too_large (it cannot be split, or not so far: why).
  [[nodiscard]] virtual Result<std::vector<PreparedInput>> split(const PreparedInput& /*input*/,
                                                                 const ItemSize& /*limit*/) {
    return Error(ErrorCode::too_large, "the model cannot split it");
  }
  /// The answer of a split input from those of its parts, in order.
  [[nodiscard]] virtual Result<std::vector<Tensor>> join(std::vector<std::vector<Tensor>> /*parts*/) {
    return Error(ErrorCode::unsupported, "the model cannot join answers");
  }
};

// ---- built-in runners ---------------------------------------------------------

/// The host's own function as a model.
struct CallbackOptions {
  std::string fingerprint;  ///< any text naming model and version; empty = never cached
  /// As ModelRunner::run. May throw: the batch's items then fail with host_failed.
  std::function<void(std::span<BatchItem>)> run;
  /// Size of an input; empty = one row, one token, the input's bytes. With leading rows: the
  /// rows, for each as many tokens as the longest second dimension has, the input's bytes.
  std::function<ItemSize(const Input&)> size;
  BatchLayout layout = BatchLayout::packed;  ///< how `run` lays out items of different lengths
  bool iterative = false;                    ///< as ModelInfo::iterative
  ItemRows rows = ItemRows::one;             ///< leading: answers lead with the rows, too
};
[[nodiscard]] Result<std::unique_ptr<ModelRunner>> make_callback_runner(CallbackOptions options);

/// A service-time model for tests and capacity work: busy for
/// base + per_item * rows + per_token * tokens (24 h at most), then answers a vector
/// derived from the input's bytes. Tokens are the words of a text, or the longest
/// leading dimension of the tensors; at least 1. Each cost is 0 to 1 hour.
/// With `steps` above 1 it is iterative: it takes in the input, at most `chunk` tokens a step;
/// the step that ends that, and `steps` - 1 further ones of one token each, emit a chunk, each
/// a vector of its own; tokens and rows are then those of the step.
/// With leading rows every row of the tensors is answered with a vector, and tokens are counted as by a callback.
struct SyntheticOptions {
  Duration base{0};
  Duration per_item{0};
  Duration per_token{0};
  std::uint32_t dimension = 8;        ///< length of the answered vector, 1..65536
  std::uint32_t steps = 1;            ///< chunks of an answer, 1..1000000
  std::uint64_t chunk = 0;            ///< most tokens of the input in one step; 0 = all in the first
  std::shared_ptr<Clock> clock = {};  ///< waits out the time; empty = the machine's clock
  ItemRows rows = ItemRows::one;
};
[[nodiscard]] Result<std::unique_ptr<ModelRunner>> make_synthetic_runner(SyntheticOptions options);

}  // namespace tidegate
