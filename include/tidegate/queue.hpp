// Options of the batching queue: when a batch is formed and who is refused.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tidegate/latency.hpp"
#include "tidegate/request.hpp"
#include "tidegate/time.hpp"

namespace tidegate {

/// Whether batches are decided by the times that earlier ones took.
enum class Prediction : std::uint8_t {
  /// A batch grows only while merging saves time and every deadline in it holds, and a
  /// request that cannot be answered in time ends early. From the first batch on where
  /// the model's speed is known (CalibrationOptions), else from the 33rd.
  learned,
  /// Batches grow to their caps; deadlines end requests when they pass, not before.
  off,
};

/// For whom a free replica waits up to max_queue_delay.
enum class Linger : std::uint8_t {
  anyone,     ///< always waits
  announced,  ///< only while a request is known to be on its way (Engine::announce, or inside `infer`)
};

/// How what waits is divided into batches for a model that pads its rows (BatchLayout::padded).
enum class Grouping : std::uint8_t {
  /// Once times are learned and more than two batches wait, cut by length, so that all of them
  /// take the least time together; else as `nearest`.
  by_length,
  nearest,  ///< around the item that goes first, the likest lengths before the others
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
  /// times the 99th percentile predicted, a second at least; a minute while nothing is predicted
  /// (the first batches of a model without samples, or Prediction::off).
  Duration stuck_after{0};
  /// Of a model with static shapes: the numbers of rows it computes, ascending, the last at
  /// most max_batch_size and then the limit itself. It pads a batch up to the next of them; a
  /// batch stops at a smaller one where that takes less time per item. Empty = any number.
  std::vector<std::uint32_t> allowed_batch_sizes{};
  Grouping grouping = Grouping::by_length;
  /// Items that a slot of an iterative model keeps between their steps at most, those in its
  /// step included; 0 = four times max_batch_size. Others wait in the queue.
  std::uint32_t max_sequences = 0;
  /// As StreamOptions::buffer_bytes, of streams that do not say their own; >= 1.
  std::uint64_t stream_buffer_bytes = 1 << 20;
  Ordering ordering = Ordering::none;
};

/// What one tenant may ask of a model; 0 = no limit. Rates are token buckets that hold one
/// period's worth; a new version of the model goes on where the former was. Only requests that are queued count:
/// answers from a cache and requests that join an equal one are free.
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
/// would break one is refused with queue_full and changes nothing, or its caller waits (RequestOptions::admit_until),
/// unless requests of lower classes can give way: then those that would run last end with preempted. Requests that join
/// an equal one (at most 1024 each) and requests in a look-up of further tiers
/// (lookup_budget at most) are not counted.
struct AdmissionOptions {
  std::uint32_t max_queued_items = 10'000;          ///< waiting requests, >= 1
  std::uint64_t max_queued_tokens = 64 * 16384ULL;  ///< of waiting requests, >= 1
  std::uint64_t max_queued_bytes = 256ULL << 20;    ///< of waiting requests' inputs, >= 1
  /// Most of max_queued_items that one tenant may hold while others wait, in percent.
  std::uint32_t max_tenant_share = 50;
  /// Named tenants remembered at a time, those listed below included: 1 to 1048576, and no fewer than are
  /// listed. One that is not listed is forgotten to make room for another once it neither waits nor runs and
  /// has got back what it used of its rates, with requests_per_day up to a day later. While none can be, a
  /// new one is refused (overloaded).
  std::uint32_t max_tenants = 4096;
  /// Where requests without a deadline have all waited longer than this for twenty times as
  /// long, those of them that have waited twice as long are shed (overloaded) before they
  /// run; never requests of class batch. No less than a mean batch time. 0 = off: they wait.
  Duration max_standing_delay{0};
  TenantLimits tenant_limits{};          ///< of every tenant not listed below, the nameless one too
  std::vector<TenantOptions> tenants{};  ///< names differ
};

/// Models that name one pool share its slots: together no more than that many of their batches run
/// at a time, and while several have work each gets the time of the slots by its weight, so a
/// backlog of one cannot keep another waiting. What one does not use the others have.
struct PoolOptions {
  std::string name{};       ///< empty = the model shares with nobody
  std::uint32_t slots = 1;  ///< of the whole pool: the same for all its models, 1..1024
  double weight = 1;        ///< share against the pool's other models, > 0
};

/// Why a batch was formed when it was.
enum class Trigger : std::uint8_t {
  idle_slot,  ///< a replica was free, and nothing had to be waited for
  full,       ///< what waited met a cap of a batch or of the queue
  linger,     ///< the wait for company was over
  drain,
  step,  ///< an iterative model: items go on in this slot
};

/// Why a batch has no more items.
enum class Fullness : std::uint8_t {
  nothing_left,  ///< everything that waited is in it
  rows,
  tokens,
  bytes,
  gain,       ///< merging more would save no time
  deadline,   ///< with any of the others a deadline would be missed
  padding,    ///< the others are too long or too short
  signature,  ///< the others are of other data types or dimensions
  long_step,  ///< an iterative model: one long item is in it, and a step has no second
  sequences,  ///< an iterative model: the slot keeps max_sequences items
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
  std::uint32_t continued = 0;  ///< of them, those that have had a step before
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
  Duration alone{0};              ///< predicted for its items one after the other
  Duration actual{0};             ///< zero = it still runs, or it was given up
  std::uint64_t filler_rows = 0;  ///< computed for nothing, up to one of allowed_batch_sizes
  bool newest_first = false;      ///< class batch ran its newest items first, as the queue stood
  std::uint32_t cut_items = 0;    ///< of those that waited, that were cut by length; 0 = none
  Duration cut_from{0};           ///< predicted for them in batches of the nearest lengths
  Duration cut_to{0};             ///< and as they were cut
};

/// One line: "batch 7: 12 items, 130 tokens (longest 21) opened by interactive, idle_slot; ...".
[[nodiscard]] std::string to_text(const BatchDecision& decision);

}  // namespace tidegate
