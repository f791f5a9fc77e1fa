#include "engine/config_schema.hpp"

#include <algorithm>
#include <array>
#include <type_traits>

#include "engine/option_limits.hpp"

namespace tidegate::config {
namespace {

constexpr std::int64_t kMaxText = 4096;
constexpr limits::TimeRange<limits::Micro> kSyntheticCost{limits::Micro(0), std::chrono::minutes(1)};
constexpr std::uint32_t kAnyKind = ~0U;
constexpr std::uint32_t kEncoder = bit(ModelKind::encoder);
constexpr std::uint32_t kTorch = bit(ModelKind::torchscript);
constexpr std::uint32_t kSynthetic = bit(ModelKind::synthetic);
constexpr std::uint32_t kHost = bit(ModelKind::host);

using limits::Range;

/// `Access` maps a Target to the member.
template <class Target, auto Access>
constexpr Field<Target> integer(std::string_view key, std::string_view unit, Range range, std::string_view text,
                                std::uint32_t kinds = kAnyKind) {
  using Member = std::remove_reference_t<decltype(Access(std::declval<Target&>()))>;
  return {key,
          ValueType::integer,
          unit,
          range.minimum,
          range.maximum,
          {},
          kinds,
          "1.0",
          text,
          [](const Target& target) -> Value { return static_cast<std::int64_t>(Access(target)); },
          [](Target& target, const Value& value) {
            Access(target) = static_cast<Member>(*std::get_if<std::int64_t>(&value));
          }};
}

/// The key counts in the unit of its range.
template <class Target, auto Access, class Ticks>
constexpr Field<Target> duration(std::string_view key, limits::TimeRange<Ticks> range, std::string_view text,
                                 std::uint32_t kinds = kAnyKind) {
  return {key,
          ValueType::integer,
          std::is_same_v<Ticks, limits::Micro> ? "us" : "ms",
          range.minimum.count(),
          range.maximum.count(),
          {},
          kinds,
          "1.0",
          text,
          [](const Target& target) -> Value { return std::chrono::duration_cast<Ticks>(Access(target)).count(); },
          [](Target& target, const Value& value) { Access(target) = Ticks(*std::get_if<std::int64_t>(&value)); }};
}

template <auto Access>
constexpr Field<ModelConfig> text(std::string_view key, Range length, std::string_view about, std::uint32_t kinds) {
  return {key,
          ValueType::string,
          "",
          length.minimum,
          length.maximum,
          {},
          kinds,
          "1.0",
          about,
          [](const ModelConfig& model) -> Value { return Access(model); },
          [](ModelConfig& model, const Value& value) { Access(model) = *std::get_if<std::string>(&value); }};
}

constexpr std::array<std::string_view, 4> kKindNames{"encoder", "torchscript", "synthetic", "host"};

Value get_kind(const ModelConfig& model) { return std::string(to_string(model.kind)); }
void set_kind(ModelConfig& model, const Value& value) {
  const auto* const found = std::find(kKindNames.begin(), kKindNames.end(), *std::get_if<std::string>(&value));
  model.kind = static_cast<ModelKind>(found - kKindNames.begin());
}
Value get_precision(const ModelConfig&) { return std::string("f32"); }
void set_precision(ModelConfig& model, const Value&) { model.precision = Precision::f32; }

using E = EngineConfig;
using M = ModelConfig;

// One row per key; the formatter takes the lambdas' brackets for comparisons.
// clang-format off
constexpr std::array kEngineFields{
    integer<E, [](auto& c) -> auto& { return c.engine.cache.memory.capacity_bytes; }>(
        "cache.memory.capacity_bytes", "bytes", limits::kCacheCapacityBytes,
        "hard budget of the memory cache; 0 switches it off"),
    integer<E, [](auto& c) -> auto& { return c.engine.cache.memory.shards; }>(
        "cache.memory.shards", "", limits::kCacheShards,
        "parts of the memory cache with a lock each; a power of two"),
    duration<E, [](auto& c) -> auto& { return c.engine.cache.time_to_live; }>(
        "cache.time_to_live_ms", limits::kTimeToLive, "life of a computed answer in the caches"),
    duration<E, [](auto& c) -> auto& { return c.engine.cache.lookup_budget; }>(
        "cache.lookup_budget_us", limits::kLookupBudget, "longest wait for all tiers behind the memory cache"),
    duration<E, [](auto& c) -> auto& { return c.engine.drain_timeout; }>(
        "drain_timeout_ms", limits::kDrainTimeout,
        "how long a runtime that is dropped lets accepted requests finish"),
};

constexpr std::array kModelFields{
    text<[](auto& m) -> auto& { return m.name; }>(
        "name", {1, 256}, "name requests select the model by", kAnyKind),
    Field<M>{"kind", ValueType::string, "", 1, 16, "encoder|torchscript|synthetic", kAnyKind, "1.0",
             "what runs the model", get_kind, set_kind},
    text<[](auto& m) -> auto& { return m.folder; }>(
        "folder", {1, kMaxText}, "sentence-transformers model folder", kEncoder),
    Field<M>{"precision", ValueType::string, "", 1, 16, "f32", kEncoder, "1.0",
             "number format of the computation", get_precision, set_precision},
    text<[](auto& m) -> auto& { return m.prompt; }>(
        "prompt", {0, kMaxText}, "name of a prompt in the model's files; empty = its default", kEncoder),
    text<[](auto& m) -> auto& { return m.file; }>(
        "file", {1, kMaxText}, "TorchScript archive", kTorch),
    text<[](auto& m) -> auto& { return m.sha256; }>(
        "sha256", {64, 64}, "SHA-256 the archive must have, in hex: the archive is code", kTorch),
    text<[](auto& m) -> auto& { return m.module_path; }>(
        "module_path", {0, kMaxText},
        "file of the runner's module; empty = beside the library, then the loader's path", kEncoder | kTorch),
    text<[](auto& m) -> auto& { return m.fingerprint; }>(
        "fingerprint", {0, kMaxText}, "names model and version; empty = answers are never cached", kHost),
    integer<M, [](auto& m) -> auto& { return m.threads; }>(
        "threads", "cores", {1, 256}, "cores one batch may use", kEncoder | kTorch),
    integer<M, [](auto& m) -> auto& { return m.replicas; }>(
        "replicas", "", {1, 256}, "copies that run side by side", kEncoder | kTorch | kSynthetic),
    integer<M, [](auto& m) -> auto& { return m.replica.concurrency; }>(
        "replica.concurrency", "batches", limits::kConcurrency, "batches one replica runs at a time"),
    integer<M, [](auto& m) -> auto& { return m.options.batching.max_batch_size; }>(
        "batching.max_batch_size", "items", limits::kBatchSize, "most items of a batch"),
    integer<M, [](auto& m) -> auto& { return m.options.batching.max_batch_tokens; }>(
        "batching.max_batch_tokens", "tokens", limits::kBatchTokens,
        "most tokens of a batch; a larger item is refused"),
    duration<M, [](auto& m) -> auto& { return m.options.batching.max_queue_delay; }>(
        "batching.max_queue_delay_us", limits::kQueueDelay, "how long a free replica may wait for company"),
    integer<M, [](auto& m) -> auto& { return m.options.admission.max_queued_items; }>(
        "admission.max_queued_items", "items", limits::kQueuedItems, "most requests waiting"),
    integer<M, [](auto& m) -> auto& { return m.options.admission.max_queued_tokens; }>(
        "admission.max_queued_tokens", "tokens", limits::kQueuedTokens, "most tokens waiting"),
    integer<M, [](auto& m) -> auto& { return m.options.admission.max_queued_bytes; }>(
        "admission.max_queued_bytes", "bytes", limits::kQueuedBytes, "most input bytes waiting"),
    duration<M, [](auto& m) -> auto& { return m.synthetic.base; }>(
        "synthetic.base_us", kSyntheticCost, "time a batch takes", kSynthetic),
    duration<M, [](auto& m) -> auto& { return m.synthetic.per_item; }>(
        "synthetic.per_item_us", kSyntheticCost, "time each item adds", kSynthetic),
    duration<M, [](auto& m) -> auto& { return m.synthetic.per_token; }>(
        "synthetic.per_token_us", kSyntheticCost, "time each token adds", kSynthetic),
    integer<M, [](auto& m) -> auto& { return m.synthetic.dimension; }>(
        "synthetic.dimension", "numbers", {1, 65536}, "length of the answered vector", kSynthetic),
};
// clang-format on

}  // namespace

std::span<const Field<EngineConfig>> engine_fields() noexcept { return kEngineFields; }
std::span<const Field<ModelConfig>> model_fields() noexcept { return kModelFields; }

std::string_view to_string(ModelKind kind) noexcept {
  const auto index = static_cast<std::size_t>(kind);
  return index < kKindNames.size() ? kKindNames[index] : "unknown";
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  // Optimal string alignment over three rolling rows.
  std::vector<std::size_t> before(b.size() + 1);
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replace = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, replace});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

}  // namespace tidegate::config
