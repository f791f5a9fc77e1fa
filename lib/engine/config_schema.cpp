#include "engine/config_schema.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "cache/redis/redis_limits.hpp"
#include "engine/config_fields.hpp"
#include "engine/option_limits.hpp"
#include "tidegate/cache_presets.hpp"

namespace tidegate::config {
namespace {

constexpr limits::TimeRange<limits::Micro> kSyntheticCost{limits::Micro(0), std::chrono::minutes(1)};
constexpr std::uint32_t kEncoder = bit(ModelKind::encoder);
constexpr std::uint32_t kTorch = bit(ModelKind::torchscript);
constexpr std::uint32_t kSynthetic = bit(ModelKind::synthetic);
constexpr std::uint32_t kHost = bit(ModelKind::host);

constexpr Range range_of(redis_limits::Numbers numbers) { return {numbers.minimum, numbers.maximum}; }
template <class Ticks>
constexpr limits::TimeRange<Ticks> range_of(redis_limits::Times times) {
  return {std::chrono::duration_cast<Ticks>(times.minimum), std::chrono::duration_cast<Ticks>(times.maximum)};
}

constexpr std::array<std::string_view, 4> kKindNames{"encoder", "torchscript", "synthetic", "host"};

Value get_kind(const ModelConfig& model) { return std::string(to_string(model.kind)); }
void set_kind(ModelConfig& model, const Value& value) {
  const auto* const found = std::find(kKindNames.begin(), kKindNames.end(), *std::get_if<std::string>(&value));
  model.kind = static_cast<ModelKind>(found - kKindNames.begin());
}

Value get_precision(const ModelConfig& model) { return std::string(to_string(model.precision)); }
void set_precision(ModelConfig& model, const Value& value) {
  if (const auto known = precision_of(*std::get_if<std::string>(&value))) model.precision = *known;
}

constexpr Range kWeightPercent{1, 1'000'000};

Value get_weight(const TenantOptions& tenant) {
  const double percent = std::round(tenant.weight * 100);
  constexpr auto kMost = static_cast<double>(std::int64_t{1} << 53);
  return static_cast<std::int64_t>(percent >= 0 && percent <= kMost ? percent : 0);
}
void set_weight(TenantOptions& tenant, const Value& value) {
  tenant.weight = static_cast<double>(*std::get_if<std::int64_t>(&value)) / 100;
}

Value get_pool_weight(const ModelConfig& model) {
  return get_weight({.name = {}, .weight = model.options.pool.weight, .limits = {}});
}
void set_pool_weight(ModelConfig& model, const Value& value) {
  model.options.pool.weight = static_cast<double>(*std::get_if<std::int64_t>(&value)) / 100;
}

/// Numbers apart by commas, with or without spaces; "" = none. What is no number counts as 0,
/// which options_check refuses by its place in the list.
Value get_sizes(const ModelConfig& model) {
  std::string list;
  for (const std::uint32_t size : model.options.batching.allowed_batch_sizes) {
    list += (list.empty() ? "" : ",") + std::to_string(size);
  }
  return list;
}
void set_sizes(ModelConfig& model, const Value& value) {
  std::vector<std::uint32_t>& sizes = model.options.batching.allowed_batch_sizes;
  sizes.clear();
  std::string_view rest = *std::get_if<std::string>(&value);
  while (!rest.empty()) {
    std::string_view one = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), one.size() + 1));
    while (one.starts_with(' ')) one.remove_prefix(1);
    while (one.ends_with(' ')) one.remove_suffix(1);
    std::uint32_t size = 0;
    const auto [end, error] = std::from_chars(one.data(), one.data() + one.size(), size);
    sizes.push_back(error == std::errc() && end == one.data() + one.size() ? size : 0);
  }
}

template <auto Member>
auto semantic_of(const ModelConfig& model) {
  return model.options.semantic.value_or(SemanticCacheOptions{}).*Member;
}
auto& semantic_of(ModelConfig& model) {
  if (!model.options.semantic) model.options.semantic.emplace();
  return *model.options.semantic;
}

Value get_embedder(const ModelConfig& model) { return semantic_of<&SemanticCacheOptions::embedder>(model); }
void set_embedder(ModelConfig& model, const Value& value) {
  semantic_of(model).embedder = *std::get_if<std::string>(&value);
}

constexpr double kPerMille = 1000;
constexpr double kPerMillion = 1'000'000;

Value get_threshold(const ModelConfig& model) {
  return std::int64_t{std::lround(semantic_of<&SemanticCacheOptions::threshold>(model) * kPerMille)};
}
void set_threshold(ModelConfig& model, const Value& value) {
  const auto permille = static_cast<double>(*std::get_if<std::int64_t>(&value));
  semantic_of(model).threshold = static_cast<float>(permille / kPerMille);
}
Value get_false_hits(const ModelConfig& model) {
  return std::int64_t{std::lround(semantic_of<&SemanticCacheOptions::false_hit_budget>(model) * kPerMillion)};
}
void set_false_hits(ModelConfig& model, const Value& value) {
  semantic_of(model).false_hit_budget = static_cast<double>(*std::get_if<std::int64_t>(&value)) / kPerMillion;
}

template <auto Member>
constexpr auto semantic_number(const Row& row, Range range) {
  return field<ModelConfig>(
      row, ValueType::integer, range, {},
      [](const ModelConfig& model) -> Value { return static_cast<std::int64_t>(semantic_of<Member>(model)); },
      [](ModelConfig& model, const Value& value) {
        auto& member = semantic_of(model).*Member;
        member = static_cast<std::remove_reference_t<decltype(member)>>(*std::get_if<std::int64_t>(&value));
      });
}

Value get_semantic_life(const ModelConfig& model) {
  return std::chrono::duration_cast<limits::Milli>(semantic_of<&SemanticCacheOptions::time_to_live>(model)).count();
}
void set_semantic_life(ModelConfig& model, const Value& value) {
  semantic_of(model).time_to_live = limits::Milli(*std::get_if<std::int64_t>(&value));
}

constexpr std::string_view kPrecisions = "f32|bf16|int8|auto";
constexpr std::string_view kPresets = "|small|large";
static_assert(kCachePresets.size() == 2 && kCachePresets[0].name == "small" && kCachePresets[1].name == "large");
constexpr std::string_view kCachePolicies = "s3_fifo|lru|lfu|w_tiny_lfu|ttl_only";
/// Empty = the best the machine has.
constexpr std::string_view kInstructionSets = "|plain|avx2|avx512|avx512_vnni|avx512_bf16";

constexpr Range kAnyText{0, kMaxText};
constexpr Range kSomeText{1, kMaxText};
constexpr Range kWord{0, 16};
constexpr Range kPartOfKey{1, redis_limits::kNameBytes};

constexpr auto kCache = &EngineOptions::cache;
constexpr auto kMemory = &CacheOptions::memory;
constexpr auto kSnapshot = &CacheOptions::snapshot;
constexpr auto kEngine = &EngineConfig::engine;
constexpr auto kRedis = &EngineConfig::redis;
constexpr auto kDisk = &EngineConfig::disk;
constexpr auto kOptions = &ModelConfig::options;
constexpr auto kBatching = &ModelOptions::batching;
constexpr auto kAdmission = &ModelOptions::admission;
constexpr auto kPool = &ModelOptions::pool;
constexpr auto kShare = &ModelOptions::cache_share;
constexpr auto kCalibration = &ModelOptions::calibration;
constexpr auto kLimits = &AdmissionOptions::tenant_limits;
constexpr auto kCost = &ModelConfig::synthetic;

constexpr std::array kEngineFields{
    text<&EngineConfig::cache_preset>(
        {"cache.preset", "", "budget and lives of the caches to begin with; keys given beside it win; empty = none"},
        kAnyText, kPresets),
    integer<&EngineConfig::cache_preset_answer_bytes>(
        {"cache.preset_answer_bytes", "bytes", "of one answer, by which the preset's budget holds its entries"},
        limits::kPresetAnswerBytes),
    integer<kEngine, kCache, kMemory, &MemoryCacheOptions::capacity_bytes>(
        {"cache.memory.capacity_bytes", "bytes", "hard budget of the memory cache; 0 switches it off"},
        limits::kCacheCapacityBytes),
    integer<kEngine, kCache, kMemory, &MemoryCacheOptions::shards>(
        {"cache.memory.shards", "", "parts of the memory cache with a lock each; a power of two"},
        limits::kCacheShards),
    choice<kEngine, kCache, kMemory, &MemoryCacheOptions::policy>(
        {"cache.memory.policy", "", "which entry of the memory cache goes when room is needed"}, kCachePolicies),
    choice<kEngine, kCache, kMemory, &MemoryCacheOptions::curve>(
        {"cache.memory.curve", "", "whether shadow caches tell what other sizes and policies would hit"}, "off|on"),
    choice<kEngine, kCache, kMemory, &MemoryCacheOptions::per_model>(
        {"cache.memory.per_model", "",
         "whether each model has a part of the memory cache, moved to where it hits most"},
        "off|on"),
    duration<kEngine, kCache, &CacheOptions::time_to_live>(
        {"cache.time_to_live_ms", "", "life of a computed answer in the caches"}, limits::kTimeToLive),
    duration<kEngine, kCache, &CacheOptions::tier_time_to_live>(
        {"cache.tier_time_to_live_ms", "", "life behind the memory cache; 0, or less than that one = the same"},
        limits::kTierTimeToLive),
    integer<kEngine, kCache, &CacheOptions::time_to_live_jitter_percent>(
        {"cache.time_to_live_jitter_percent", "percent", "by how much a life is shortened at most, chosen by its key"},
        limits::kTimeToLiveJitter),
    duration<kEngine, kCache, &CacheOptions::fresh_for>(
        {"cache.fresh_for_ms", "", "fresh part of a life; past it an answer is given and renewed; 0 = all of it"},
        limits::kFreshFor),
    duration<kEngine, kCache, &CacheOptions::refresh_timeout>(
        {"cache.refresh_timeout_ms", "", "how long a renewal may take before another is started"},
        limits::kRefreshTimeout),
    duration<kEngine, kCache, &CacheOptions::negative_time_to_live>(
        {"cache.negative_time_to_live_ms", "", "how long an invalid request is refused without asking the model"},
        limits::kNegativeTimeToLive),
    choice<kEngine, kCache, &CacheOptions::bypass>(
        {"cache.bypass", "", "whether a model goes without the caches while they cost more than they save"},
        "automatic|never"),
    duration<kEngine, kCache, &CacheOptions::lookup_budget>(
        {"cache.lookup_budget_us", "", "longest wait for all tiers behind the memory cache"}, limits::kLookupBudget),
    text<kEngine, kCache, kSnapshot, &CacheSnapshotOptions::file>(
        {"cache.snapshot.file", "", "file that keeps the memory cache over a restart; empty = none"}, kAnyText),
    integer<kEngine, kCache, kSnapshot, &CacheSnapshotOptions::capacity_bytes>(
        {"cache.snapshot.capacity_bytes", "bytes", "most bytes of that file; the answers worth least are left out"},
        limits::kSnapshotBytes),
    text<kDisk, &DiskCacheOptions::folder>(
        {"cache.disk.folder", "", "folder of the disk cache, its own; empty = there is none"}, kAnyText),
    integer<kDisk, &DiskCacheOptions::capacity_bytes>(
        {"cache.disk.capacity_bytes", "bytes", "most bytes its files take; the oldest answers go first"},
        limits::kDiskCapacityBytes),
    integer<kDisk, &DiskCacheOptions::write_buffer_bytes>(
        {"cache.disk.write_buffer_bytes", "bytes", "memory for answers not yet in a file; 0 = a part of the capacity"},
        limits::kDiskBufferBytes),
    integer<kDisk, &DiskCacheOptions::write_bytes_per_second>(
        {"cache.disk.write_bytes_per_second", "bytes", "rate of storing; answers above it are dropped; 0 = no limit"},
        limits::kDiskRate),
    choice<kDisk, &DiskCacheOptions::admission>(
        {"cache.disk.admission", "", "whether every answer is stored or one offered for the second time"},
        "all|seen_twice"),
    duration<kDisk, &DiskCacheOptions::admit_cost>(
        {"cache.disk.admit_cost_us", "", "seen_twice: an answer that took so long is stored at once; 0 = none is"},
        limits::kAdmitCost),
    duration<kDisk, &DiskCacheOptions::flush_interval>(
        {"cache.disk.flush_interval_ms", "", "an answer is in a synced file so long after it was stored; 0 = no bound"},
        limits::kFlushInterval),
    integer<kDisk, &DiskCacheOptions::read_threads>({"cache.disk.read_threads", "threads", "threads that read files"},
                                                    limits::kDiskReadThreads),
    integer<kDisk, &DiskCacheOptions::max_queued_reads>(
        {"cache.disk.max_queued_reads", "", "look-ups waiting for those threads; further ones miss"},
        limits::kDiskQueuedReads),
    integer<kDisk, &DiskCacheOptions::max_queued_bytes>(
        {"cache.disk.max_queued_bytes", "bytes", "answers waiting to be written; further ones are dropped"},
        limits::kDiskQueuedBytes),
    choice<kDisk, &DiskCacheOptions::trouble>(
        {"cache.disk.trouble", "", "a store that cannot be had: an error, or misses until it can be"},
        "refuse|try_again"),
    duration<kDisk, &DiskCacheOptions::max_retry_pause>(
        {"cache.disk.max_retry_pause_ms", "", "longest pause before a store that failed to write is tried again"},
        limits::kDiskRetryPause),
    text<kDisk, &DiskCacheOptions::module_path>(
        {"cache.disk.module_path", "", "file of the module; empty = beside the library, then the loader's path"},
        kAnyText),
    integer<kEngine, &EngineOptions::queue, &EngineQueueOptions::max_queued_items>(
        {"queue.max_queued_items", "items", "most requests waiting, all models together; 0 = no cap"},
        limits::kEngineItems),
    integer<kEngine, &EngineOptions::queue, &EngineQueueOptions::max_queued_tokens>(
        {"queue.max_queued_tokens", "tokens", "most tokens waiting, all models together; 0 = no cap"},
        limits::kEngineTokens),
    integer<kEngine, &EngineOptions::queue, &EngineQueueOptions::max_queued_bytes>(
        {"queue.max_queued_bytes", "bytes", "most input bytes waiting, all models together; 0 = no cap"},
        limits::kEngineBytes),
    duration<kEngine, &EngineOptions::drain_timeout>(
        {"drain_timeout_ms", "", "how long a runtime that is dropped lets accepted requests finish"},
        limits::kDrainTimeout),
    text<kRedis, &RedisCacheOptions::address>(
        {"cache.redis.address", "", "Redis server shared as a cache: host:port or unix:/path; empty = none"}, kAnyText),
    integer<kRedis, &RedisCacheOptions::database>({"cache.redis.database", "", "number of its database"},
                                                  range_of(redis_limits::kDatabase)),
    text<kRedis, &RedisCacheOptions::username>({"cache.redis.username", "", "empty = the server's default user"},
                                               kAnyText),
    secret<kRedis, &RedisCacheOptions::password>({"cache.redis.password", "", "never dumped; rather use a file"}),
    text<kRedis, &RedisCacheOptions::password_file>(
        {"cache.redis.password_file", "", "file whose first line is the password"}, kAnyText),
    choice<kRedis, &RedisCacheOptions::tls>({"cache.redis.tls", "", "whether the connection is encrypted"}, "off|on"),
    text<kRedis, &RedisCacheOptions::tls_ca_file>(
        {"cache.redis.tls_ca_file", "", "authorities in PEM form; empty = the system's"}, kAnyText),
    text<kRedis, &RedisCacheOptions::tls_cert_file>({"cache.redis.tls_cert_file", "", "own certificate in PEM form"},
                                                    kAnyText),
    text<kRedis, &RedisCacheOptions::tls_key_file>({"cache.redis.tls_key_file", "", "its private key in PEM form"},
                                                   kAnyText),
    text<kRedis, &RedisCacheOptions::tls_server_name>(
        {"cache.redis.tls_server_name", "", "name in the server's certificate; empty = the host"}, kAnyText),
    text<kRedis, &RedisCacheOptions::key_prefix>({"cache.redis.key_prefix", "", "what every key begins with"},
                                                 kPartOfKey),
    text<kRedis, &RedisCacheOptions::name_space>(
        {"cache.redis.namespace", "", "part of every key; answers are shared and dropped within one"}, kPartOfKey),
    secret<kRedis, &RedisCacheOptions::hmac_key>(
        {"cache.redis.hmac_key", "", "secret that values are signed with; never dumped"}),
    text<kRedis, &RedisCacheOptions::hmac_key_file>(
        {"cache.redis.hmac_key_file", "", "file whose first line is that secret"}, kAnyText),
    duration<kRedis, &RedisCacheOptions::connect_budget>(
        {"cache.redis.connect_budget_ms", "", "longest time to connect and sign in"},
        range_of<limits::Milli>(redis_limits::kConnectBudget)),
    duration<kRedis, &RedisCacheOptions::get_budget>({"cache.redis.get_budget_us", "", "longest time of a look-up"},
                                                     range_of<limits::Micro>(redis_limits::kGetBudget)),
    duration<kRedis, &RedisCacheOptions::coalesce_window>(
        {"cache.redis.coalesce_window_us", "", "how long look-ups wait for company while one is with the server"},
        range_of<limits::Micro>(redis_limits::kCoalesceWindow)),
    integer<kRedis, &RedisCacheOptions::max_keys_per_get>({"cache.redis.max_keys_per_get", "", "most keys of one MGET"},
                                                          range_of(redis_limits::kKeysPerGet)),
    integer<kRedis, &RedisCacheOptions::max_value_bytes>(
        {"cache.redis.max_value_bytes", "bytes", "larger answers are not written"},
        range_of(redis_limits::kValueBytes)),
    integer<kRedis, &RedisCacheOptions::write_queue_items>(
        {"cache.redis.write_queue_items", "", "most answers that wait to be written; the oldest go first"},
        range_of(redis_limits::kQueueItems)),
    integer<kRedis, &RedisCacheOptions::write_queue_bytes>(
        {"cache.redis.write_queue_bytes", "bytes", "most bytes of them"}, range_of(redis_limits::kQueueBytes)),
    duration<kRedis, &RedisCacheOptions::breaker_first_open>(
        {"cache.redis.breaker_first_open_ms", "", "how long a server that fails is left alone; doubled each time"},
        range_of<limits::Milli>(redis_limits::kBreakerOpen)),
    duration<kRedis, &RedisCacheOptions::breaker_longest_open>(
        {"cache.redis.breaker_longest_open_ms", "", "the longest such time"},
        range_of<limits::Milli>(redis_limits::kBreakerOpen)),
};

constexpr std::array kModelFields{
    text<&ModelConfig::name>({"name", "", "name requests select the model by"}, {1, 256}),
    field<ModelConfig>({"kind", "", "what runs the model"}, ValueType::string, kWord, "encoder|torchscript|synthetic",
                       get_kind, set_kind),
    text<&ModelConfig::folder>({"folder", "", "sentence-transformers model folder", kEncoder}, kSomeText),
    field<ModelConfig>(
        {"precision", "", "number format of the products; auto = the fastest here that agrees closely with f32",
         kEncoder},
        ValueType::string, kWord, kPrecisions, get_precision, set_precision),
    text<&ModelConfig::isa>(
        {"isa", "", "instruction set of the encoder's kernels; empty = the best the machine has", kEncoder}, kWord,
        kInstructionSets),
    text<&ModelConfig::pack_folder>(
        {"pack_folder", "", "folder of the packed bf16 and int8 weights; empty = the model folder", kEncoder},
        kAnyText),
    text<&ModelConfig::prompt>({"prompt", "", "name of a prompt in the model's files; empty = its default", kEncoder},
                               kAnyText),
    text<&ModelConfig::file>({"file", "", "TorchScript archive", kTorch}, kSomeText),
    text<&ModelConfig::sha256>({"sha256", "", "SHA-256 the archive must have, in hex: the archive is code", kTorch},
                               {64, 64}),
    text<&ModelConfig::module_path>(
        {"module_path", "", "file of the runner's module; empty = beside the library, then the loader's path",
         kEncoder | kTorch},
        kAnyText),
    text<&ModelConfig::fingerprint>(
        {"fingerprint", "", "names model and version; empty = answers are never cached", kHost}, kAnyText),
    choice<&ModelConfig::rows>({"rows", "", "leading = tensors lead with rows, and a large request runs in parts",
                                kTorch | kSynthetic | kHost},
                               "one|leading"),
    integer<&ModelConfig::threads>({"threads", "cores", "cores one batch may use", kEncoder | kTorch}, {1, 256}),
    integer<&ModelConfig::replicas>({"replicas", "", "copies that run side by side", kEncoder | kTorch | kSynthetic},
                                    {1, 256}),
    integer<&ModelConfig::cores>({"cores", "cores", "divided into replicas x threads by measuring; 0 = as these say",
                                  kEncoder | kTorch | kSynthetic},
                                 {0, 256}),
    integer<&ModelConfig::replica, &ReplicaOptions::concurrency>(
        {"replica.concurrency", "batches", "batches one replica runs at a time"}, limits::kConcurrency),
    text<&ModelConfig::replica, &ReplicaOptions::variant>(
        {"replica.variant", "", "variant its answers name; empty = what the model says"}, {0, 64}),
    integer<kOptions, kBatching, &BatchingOptions::max_batch_size>(
        {"batching.max_batch_size", "items", "most items of a batch"}, limits::kBatchSize),
    integer<kOptions, kBatching, &BatchingOptions::max_batch_tokens>(
        {"batching.max_batch_tokens", "tokens", "most tokens of a batch; a larger item is split or refused"},
        limits::kBatchTokens),
    duration<kOptions, kBatching, &BatchingOptions::max_queue_delay>(
        {"batching.max_queue_delay_us", "", "how long a free replica may wait for company"}, limits::kQueueDelay),
    choice<kOptions, kBatching, &BatchingOptions::linger>(
        {"batching.linger", "", "whether that wait is for anyone or only for announced requests"}, "anyone|announced"),
    integer<kOptions, kBatching, &BatchingOptions::max_batch_bytes>(
        {"batching.max_batch_bytes", "bytes", "most input bytes of a batch; a larger item is split or refused"},
        limits::kBatchBytes),
    choice<kOptions, kBatching, &BatchingOptions::prediction>(
        {"batching.prediction", "", "whether batches and deadlines are decided by learned times"}, "learned|off"),
    choice<kOptions, kBatching, &BatchingOptions::ordering>(
        {"batching.ordering", "", "whether completions come in the order of acceptance: by key, or all"},
        "none|per_key|lane"),
    integer<kOptions, kBatching, &BatchingOptions::interactive_floor>(
        {"batching.interactive_floor", "percent", "least share of the tokens for interactive requests that wait"},
        limits::kInteractiveFloor),
    integer<kOptions, kBatching, &BatchingOptions::batch_floor>(
        {"batching.batch_floor", "percent", "least share of the tokens for batch requests that wait"},
        limits::kBatchFloor),
    duration<kOptions, kBatching, &BatchingOptions::max_class_wait>(
        {"batching.max_class_wait_us", "", "a class passed over so long goes next; 0 = twenty mean batches"},
        limits::kClassWait),
    duration<kOptions, kBatching, &BatchingOptions::stuck_after>(
        {"batching.stuck_after_ms", "",
         "time in the model from which a batch is stuck; 0 = ten times the learned p99, a minute before"},
        limits::kStuckAfter),
    field<ModelConfig>({"batching.allowed_batch_sizes", "items",
                        "numbers of rows a model with static shapes computes, as 8,16,32; empty = any"},
                       ValueType::string, kAnyText, {}, get_sizes, set_sizes),
    choice<kOptions, kBatching, &BatchingOptions::grouping>(
        {"batching.grouping", "", "how a backlog of a padded model is divided into batches"}, "by_length|nearest"),
    integer<kOptions, kBatching, &BatchingOptions::max_sequences>(
        {"batching.max_sequences", "items", "most that a slot keeps; 0 = four times the batch"}, limits::kSequences),
    integer<kOptions, kBatching, &BatchingOptions::stream_buffer_bytes>(
        {"batching.stream_buffer_bytes", "bytes", "of chunks a stream keeps for its consumer"}, limits::kBufferBytes),
    integer<kOptions, kAdmission, &AdmissionOptions::max_queued_items>(
        {"admission.max_queued_items", "items", "most requests waiting"}, limits::kQueuedItems),
    integer<kOptions, kAdmission, &AdmissionOptions::max_queued_tokens>(
        {"admission.max_queued_tokens", "tokens", "most tokens waiting"}, limits::kQueuedTokens),
    integer<kOptions, kAdmission, &AdmissionOptions::max_queued_bytes>(
        {"admission.max_queued_bytes", "bytes", "most input bytes waiting"}, limits::kQueuedBytes),
    integer<kOptions, kAdmission, &AdmissionOptions::max_tenant_share>(
        {"admission.max_tenant_share", "percent", "most of the waiting requests one tenant has while others wait"},
        limits::kTenantShare),
    integer<kOptions, kAdmission, &AdmissionOptions::max_tenants>(
        {"admission.max_tenants", "tenants", "most tenants remembered at a time, listed ones included"},
        limits::kTenants),
    duration<kOptions, kAdmission, &AdmissionOptions::max_standing_delay>(
        {"admission.max_standing_delay_us", "", "wait from which on a queue that stands sheds; 0 = never"},
        limits::kStandingDelay),
    integer<kOptions, kAdmission, kLimits, &TenantLimits::requests_per_minute>(
        {"admission.requests_per_minute", "requests", "rate of one tenant; 0 = no limit"}, limits::kRate),
    integer<kOptions, kAdmission, kLimits, &TenantLimits::requests_per_day>(
        {"admission.requests_per_day", "requests", "rate of one tenant; 0 = no limit"}, limits::kRate),
    integer<kOptions, kAdmission, kLimits, &TenantLimits::tokens_per_minute>(
        {"admission.tokens_per_minute", "tokens", "rate of one tenant; 0 = no limit"}, limits::kRate),
    integer<kOptions, kShare, &CacheShare::min_bytes>(
        {"cache.share.min_bytes", "bytes", "promised of the memory cache; with cache.memory.per_model = on"},
        limits::kCacheShareBytes),
    integer<kOptions, kShare, &CacheShare::max_bytes>(
        {"cache.share.max_bytes", "bytes", "most of the memory cache; 0 = all of it; with cache.memory.per_model = on"},
        limits::kCacheShareBytes),
    field<ModelConfig>(
        {"semantic.embedder", "", "model, listed before, by which like texts share answers; empty = none"},
        ValueType::string, {0, 256}, {}, get_embedder, set_embedder),
    field<ModelConfig>({"semantic.threshold_permille", "", "least cosine of two texts that share an answer"},
                       ValueType::integer, limits::kSemanticThresholdPermille, {}, get_threshold, set_threshold),
    field<ModelConfig>({"semantic.false_hit_budget_ppm", "", "allowed share of wrong answers, in a million"},
                       ValueType::integer, limits::kFalseHitsPerMillion, {}, get_false_hits, set_false_hits),
    semantic_number<&SemanticCacheOptions::audited_percent>(
        {"semantic.audited_percent", "percent", "of such answers are computed all the same, to compare"},
        limits::kAuditedPercent),
    semantic_number<&SemanticCacheOptions::capacity_bytes>(
        {"semantic.capacity_bytes", "bytes", "most of vectors, indexes and answers"}, limits::kSemanticCapacity),
    field<ModelConfig>({"semantic.time_to_live_ms", "ms", "life of such an answer"}, ValueType::integer,
                       {limits::kTimeToLive.minimum.count(), limits::kTimeToLive.maximum.count()}, {},
                       get_semantic_life, set_semantic_life),
    semantic_number<&SemanticCacheOptions::flat_limit>(
        {"semantic.flat_limit", "texts", "that are compared one by one; beyond, a graph is searched"},
        limits::kFlatLimit),
    text<kOptions, kPool, &PoolOptions::name>(
        {"pool.name", "", "models that name one pool share its slots; empty = the model shares with nobody"}, {0, 256}),
    integer<kOptions, kPool, &PoolOptions::slots>(
        {"pool.slots", "batches", "batches of the whole pool that run at a time; equal in all its models"},
        limits::kPoolSlots),
    field<ModelConfig>({"pool.weight_percent", "percent", "share of the slots against the pool's other models"},
                       ValueType::integer, kWeightPercent, {}, get_pool_weight, set_pool_weight),
    duration<kOptions, &ModelOptions::slo>(
        {"slo_us", "", "wished time from arrival to answer, which replicas are reckoned by; 0 = none"}, limits::kSlo),
    choice<kOptions, kCalibration, &CalibrationOptions::mode>(
        {"calibration.mode", "", "whether the model's speed is measured when it is loaded and kept when drained"},
        "on|off"),
    text<kOptions, kCalibration, &CalibrationOptions::folder>(
        {"calibration.folder", "", "where its latency profile is kept; empty = beside the model, if it has a folder"},
        kAnyText),
    duration<kCost, &SyntheticOptions::base>({"synthetic.base_us", "", "time a batch takes", kSynthetic},
                                             kSyntheticCost),
    duration<kCost, &SyntheticOptions::per_item>({"synthetic.per_item_us", "", "time each item adds", kSynthetic},
                                                 kSyntheticCost),
    duration<kCost, &SyntheticOptions::per_token>({"synthetic.per_token_us", "", "time each token adds", kSynthetic},
                                                  kSyntheticCost),
    integer<kCost, &SyntheticOptions::dimension>(
        {"synthetic.dimension", "numbers", "length of the answered vector", kSynthetic}, {1, 65536}),
    integer<kCost, &SyntheticOptions::steps>(
        {"synthetic.steps", "chunks", "of an item; above 1: iterative", kSynthetic}, {1, 1'000'000}),
    integer<kCost, &SyntheticOptions::chunk>(
        {"synthetic.chunk", "tokens", "of the input in a step; 0 = all", kSynthetic}, limits::kTokensInStep),
};

constexpr auto kOwn = &TenantOptions::limits;

constexpr std::array kTenantFields{
    text<&TenantOptions::name>({"name", "", "name that requests carry as their tenant"}, {1, 256}),
    field<TenantOptions>({"weight_percent", "percent", "its share of the replicas against a tenant that is not listed"},
                         ValueType::integer, kWeightPercent, {}, get_weight, set_weight),
    integer<kOwn, &TenantLimits::requests_per_minute>({"requests_per_minute", "requests", "its rate; 0 = no limit"},
                                                      limits::kRate),
    integer<kOwn, &TenantLimits::requests_per_day>({"requests_per_day", "requests", "its rate; 0 = no limit"},
                                                   limits::kRate),
    integer<kOwn, &TenantLimits::tokens_per_minute>({"tokens_per_minute", "tokens", "its rate; 0 = no limit"},
                                                    limits::kRate),
};

}  // namespace

std::span<const Field<EngineConfig>> engine_fields() noexcept { return kEngineFields; }
std::span<const Field<ModelConfig>> model_fields() noexcept { return kModelFields; }
std::span<const Field<TenantOptions>> tenant_fields() noexcept { return kTenantFields; }

std::string_view to_string(ModelKind kind) noexcept {
  const auto index = static_cast<std::size_t>(kind);
  return index < kKindNames.size() ? kKindNames[index] : "unknown";
}

}  // namespace tidegate::config
