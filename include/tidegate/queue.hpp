// Options of the batching queue: when a batch is formed and who is refused.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tidegate/request.hpp"
#include "tidegate/time.hpp"

namespace tidegate {

/// Whether batches are decided by the times that earlier ones took.
enum class Prediction : std::uint8_t {
  /// From the 33rd batch on a batch grows only while merging saves time and every
  /// deadline in it holds, and a request that cannot be answered in time ends early.
  learned,
  /// Batches grow to their caps; deadlines end requests when they pass, not before.
  off,
};

/// For whom a free replica waits up to max_queue_delay.
enum class Linger : std::uint8_t {
  anyone,     ///< always waits
  announced,  ///< only while a request is known to be on its way (Engine::announce, or inside `infer`)
};

/// In which order completions are called. A request stands in its line from its acceptance until
/// its completion has returned; one that is cancelled, expires or gives way to others leaves
/// the line and completes at once. A request in a line may have no priority but the default,
/// and at most max_queued_items requests stand in lines.
enum class Ordering : std::uint8_t {
  none,     ///< as they end
  per_key,  ///< those of one RequestOptions::ordering_key in the order of acceptance
  lane,     ///< all of the model
};

/// A batch is formed when a replica is free, never before (late binding): while
/// all are busy, the queue itself is the next batch.
struct BatchingOptions {
  std::uint32_t max_batch_size = 32;  ///< items, >= 1
  /// >= 1. An item that breaks this or another cap of a batch runs in parts where the model
  /// can split it (ItemRows::leading), and is refused (too_large) where not.
  std::uint64_t max_batch_tokens = 16384;
  /// How long a free replica may wait for company, counted from the arrival of
  /// the oldest item and never re-armed; a minute at most. 0 = never wait (the right
  /// choice on CPUs).
  Duration max_queue_delay{0};
  Linger linger = Linger::anyone;
  std::uint64_t max_batch_bytes = 256ULL << 20;  ///< of inputs, >= 1
  Prediction prediction = Prediction::learned;
  /// Share of the tokens that a class gets at least while it has work, in percent, at
  /// most 60 and 40.
  std::uint32_t interactive_floor = 20;
  std::uint32_t batch_floor = 5;
  /// A class that no batch has been opened for so long goes next, though in at most
  /// every other batch; 0 = twenty mean batch times.
  Duration max_class_wait{0};
  /// A batch inside the model for so long is taken for stuck: its requests without a deadline
  /// end (stuck), nobody joins it any more, and its slot stays taken until it returns. 0 = ten
  /// times the 99th percentile predicted, a second at least, once times have been learned.
  Duration stuck_after{0};
  Ordering ordering = Ordering::none;
};

/// What one tenant may ask of a model; 0 = no limit. Rates are token buckets that hold one
/// period's worth. Only requests that are queued count: answers from a cache and requests
/// that join an equal one are free.
struct TenantLimits {
  std::uint64_t requests_per_minute = 0;
  std::uint64_t requests_per_day = 0;
  std::uint64_t tokens_per_minute = 0;
};

/// A tenant that is not like the others.
struct TenantOptions {
  std::string name;   ///< RequestOptions::tenant; not empty
  double weight = 1;  ///< share of the replicas against other tenants of the class, > 0
  TenantLimits limits{};
};

/// Hard caps on what waits for a replica. They hold at every instant; a request that
/// would break one is refused with queue_full and changes nothing, unless requests of lower
/// classes can give way: then those that would run last end with preempted. Requests that join
/// an equal one (at most 1024 each) and requests in a look-up of further tiers
/// (lookup_budget at most) are not counted.
struct AdmissionOptions {
  std::uint32_t max_queued_items = 10'000;          ///< waiting requests, >= 1
  std::uint64_t max_queued_tokens = 64 * 16384ULL;  ///< of waiting requests, >= 1
  std::uint64_t max_queued_bytes = 256ULL << 20;    ///< of waiting requests' inputs, >= 1
  /// Most of max_queued_items that one tenant may hold while others wait, in percent.
  std::uint32_t max_tenant_share = 50;
  /// Where requests without a deadline have all waited longer than this for twenty times as
  /// long, those of them that have waited twice as long are shed (overloaded) before they
  /// run; never requests of class batch. No less than a mean batch time. 0 = off: they wait.
  Duration max_standing_delay{0};
  TenantLimits tenant_limits{};          ///< of every tenant not listed below, the nameless one too
  std::vector<TenantOptions> tenants{};  ///< names differ
};

/// Why a batch was formed when it was.
enum class Trigger : std::uint8_t {
  idle_slot,  ///< a replica was free, and nothing had to be waited for
  full,       ///< what waited met a cap of a batch or of the queue
  linger,     ///< the wait for company was over
  drain,
};

/// Why a batch has no more items.
enum class Fullness : std::uint8_t {
  nothing_left,  ///< everything that waited is in it
  rows,
  tokens,
  bytes,
  gain,      ///< merging more would save no time
  deadline,  ///< with any of the others a deadline would be missed
  padding,   ///< the others are too long or too short
};
[[nodiscard]] std::string_view to_string(Trigger trigger) noexcept;
[[nodiscard]] std::string_view to_string(Fullness fullness) noexcept;

/// One decision of the queue: a batch, and the numbers it was formed by.
struct BatchDecision {
  std::uint64_t number = 0;  ///< counts the model's batches, from 1
  TimePoint formed{};
  Trigger trigger{};
  Fullness fullness{};
  Priority opened_by{};  ///< class of its first item
  std::uint32_t items = 0;
  std::uint64_t rows = 0;
  std::uint64_t tokens = 0;
  std::uint64_t longest = 0;         ///< row, in tokens
  std::uint32_t passed_over = 0;     ///< items that were tried and did not fit
  std::uint32_t left = 0;            ///< items that went on waiting
  std::uint32_t running = 0;         ///< batches that ran from then on, this one included
  Duration oldest_wait{0};           ///< of its items
  Duration slack = Duration::max();  ///< to the earliest deadline in it; max = there is none
  Duration predicted{0};             ///< mean; zero = nothing was predicted yet
  Duration predicted95{0};
  Duration alone{0};   ///< predicted for its items one after the other
  Duration actual{0};  ///< zero = it still runs, or it was given up
};

/// One line: "batch 7: 12 items, 130 tokens (longest 21) opened by interactive, idle_slot; ...".
[[nodiscard]] std::string to_text(const BatchDecision& decision);

/// What the queue has learned about a model's speed. With one batch at a time a batch
/// takes base + per_token * T + per_square * Q + per_row * R nanoseconds, where T are the
/// tokens computed, Q the sum over rows of squared length and R the rows.
struct LatencyProfile {
  std::uint64_t samples = 0;  ///< batches learned from; predictions are used from the 32nd on
  double base_ns = 0;
  double per_token_ns = 0;
  double per_square_ns = 0;
  double per_row_ns = 0;
  double tail95 = 0;         ///< actual over predicted time, exceeded once in twenty batches
  double tail99 = 0;         ///< once in a hundred
  std::uint64_t drifts = 0;  ///< times the speed changed for good and the past was dropped
};

}  // namespace tidegate
