// Request and Response: what goes in at one end of the gate and comes out at the other.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tidegate/tensor.hpp"
#include "tidegate/time.hpp"

namespace tidegate {

/// SHA-256 over everything that decides an answer.
using Digest = std::array<std::uint8_t, 32>;

/// One item for a model: a text (UTF-8) or the tensors the model asks for.
using Input = std::variant<std::string, std::vector<Tensor>>;

/// What the caches may do for a request.
enum class CacheMode : std::uint8_t {
  use,      ///< look up, and store what was computed
  refresh,  ///< compute, then store
  bypass,   ///< neither look up nor store; never joined to another request
  /// As `use`, and where the model has a semantic tier (ModelOptions::semantic), the answer to a question
  /// that means the same will do (AnswerSource::similar).
  similar,
};

/// What goes first while replicas are scarce. Every class keeps a share of the work
/// (BatchingOptions), so none waits for ever.
enum class Priority : std::uint8_t {
  critical,     ///< before everything else
  interactive,  ///< somebody waits
  batch,        ///< work that can wait
};

[[nodiscard]] constexpr std::string_view to_string(Priority priority) noexcept {
  switch (priority) {
    case Priority::critical: return "critical";
    case Priority::interactive: return "interactive";
    case Priority::batch: return "batch";
  }
  return "unknown";
}

/// Which version of a model answers when it is replaced while the request waits.
enum class Version : std::uint8_t {
  any,     ///< the newer one, where it takes inputs that the former has prepared
  pinned,  ///< the one that has accepted it
};

struct RequestOptions {
  /// No answer is of use after this moment; the request then completes with
  /// deadline_exceeded, whatever state it is in.
  Deadline deadline = kNoDeadline;
  CacheMode cache = CacheMode::use;
  Priority priority = Priority::interactive;
  /// Whose request it is: tenants of one class share the replicas by tokens. Empty = nobody's.
  std::string tenant{};
  Version version = Version::any;  ///< see Engine::replace_model
  /// With CacheMode::similar: what else must be equal before texts are compared, such as system prompt,
  /// language and parameters; compared by its digest.
  std::string similar_within{};
  /// What Engine::invalidate_cache may call the answer by, such as the source it was made from. Part of
  /// no comparison: until its tag is invalidated a request is given whatever any equal one was.
  std::string cache_tag{};
  /// Completions of equal keys come in the order of acceptance, where the model's
  /// BatchingOptions::ordering is per_key; elsewhere it must be empty. At most 256 bytes.
  std::string ordering_key{};
  /// While the queue is full the call waits for room until then, `deadline` at most, instead of being refused:
  /// within its class in order of arrival. Past = never blocks. No effect in a completion callback or a model, nor
  /// on a request that first asks a further cache tier or the semantic one: it is accepted, and may end with
  /// queue_full.
  Deadline admit_until = TimePoint::min();
};

struct Request {
  std::string model;  ///< name given to Engine::add_model; empty = the only model
  Input input;
  RequestOptions options{};
};

/// Names one accepted request of one engine; never reused while the engine lives.
enum class RequestId : std::uint64_t {};

/// Where an answer came from.
enum class AnswerSource : std::uint8_t {
  model,    ///< computed for this request
  joined,   ///< computed once for this and other equal requests in flight
  cache,    ///< read from a cache tier (Timing::cache_tier)
  similar,  ///< computed for another question that means the same (Response::similarity)
};

/// Whose answer it is, where that is another question's.
struct Similarity {
  float cosine = 0;   ///< of the two questions, as embedded
  Digest question{};  ///< cache key of the other one
};

/// Where the time went; each is zero where the step did not happen.
struct Timing {
  Duration queue{0};             ///< accepted to batch formed
  Duration dispatch{0};          ///< batch formed to its start on a worker
  Duration run{0};               ///< inside the model
  Duration total{0};             ///< accepted to completed
  std::uint32_t batch_size = 0;  ///< items in the batch that computed it
  std::int32_t cache_tier = -1;  ///< 0 = memory, 1.. = further tiers; -1 = not from a cache
  std::int32_t replica = -1;     ///< replica that computed it; -1 = none
  /// Parts it was computed in: 1, or more where it was larger than a batch. Then the times are
  /// those from the first part to the last, batch_size is the largest, replica that of the first.
  std::uint32_t parts = 0;
};

struct Response {
  std::vector<Tensor> outputs;  ///< an encoder gives one f32 tensor [dimension]
  AnswerSource source = AnswerSource::model;
  Timing timing{};
  std::optional<Similarity> similarity{};  ///< set with AnswerSource::similar
  bool stale = false;                      ///< from a cache, past CacheOptions::fresh_for; it is being computed anew
  /// Of the model, that computed it: "f32", "int8", ... or what ReplicaOptions says. Empty
  /// where it has no name, and for an answer from a cache, whose record does not say.
  std::string variant{};
};

}  // namespace tidegate
