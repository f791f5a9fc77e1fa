// The ranges of options. What the schema of the configuration publishes and what
// options_check accepts are the same constants, so they cannot differ.
#pragma once

#include <chrono>
#include <cstdint>

namespace tidegate::limits {

/// Both ends are allowed.
struct Range {
  std::int64_t minimum;
  std::int64_t maximum;
};

/// The same for times; `Unit` is that of the configuration key.
template <class Unit>
struct TimeRange {
  Unit minimum;
  Unit maximum;
};

using Micro = std::chrono::duration<std::int64_t, std::micro>;
using Milli = std::chrono::duration<std::int64_t, std::milli>;

// Far above what a machine holds, far below where sums of them overflow.
inline constexpr std::int64_t kMostBytes = std::int64_t{1} << 50;
inline constexpr std::int64_t kMostTokens = std::int64_t{1} << 50;

inline constexpr Range kCacheCapacityBytes{0, kMostBytes};
inline constexpr Range kPresetAnswerBytes{1, std::int64_t{1} << 30};
inline constexpr Range kCacheShareBytes{0, kMostBytes};
inline constexpr Range kCacheShards{1, 256};
inline constexpr TimeRange<Milli> kTimeToLive{Milli(1), std::chrono::hours(24 * 3650)};
inline constexpr TimeRange<Milli> kTierTimeToLive{Milli(0), std::chrono::hours(24 * 3650)};
inline constexpr Range kTimeToLiveJitter{0, 50};
inline constexpr TimeRange<Milli> kFreshFor{Milli(0), std::chrono::hours(24 * 3650)};
inline constexpr TimeRange<Milli> kRefreshTimeout{Milli(1), std::chrono::hours(1)};
inline constexpr TimeRange<Milli> kNegativeTimeToLive{Milli(0), std::chrono::seconds(30)};
inline constexpr TimeRange<Micro> kLookupBudget{Micro(0), std::chrono::minutes(1)};
inline constexpr Range kSnapshotBytes{4096, kMostBytes};
inline constexpr Range kDiskCapacityBytes{std::int64_t{8} << 20, kMostBytes};
inline constexpr Range kDiskBufferBytes{0, std::int64_t{4} << 30};
inline constexpr Range kDiskRate{0, kMostBytes};
inline constexpr TimeRange<Micro> kAdmitCost{Micro(0), std::chrono::hours(1)};
inline constexpr TimeRange<Milli> kFlushInterval{Milli(0), std::chrono::hours(24)};
inline constexpr Range kDiskReadThreads{1, 64};
inline constexpr Range kDiskQueuedReads{0, 1 << 20};
inline constexpr Range kDiskQueuedBytes{1, kMostBytes};
inline constexpr TimeRange<Milli> kDiskRetryPause{Milli(1), std::chrono::hours(1)};
inline constexpr TimeRange<Milli> kDrainTimeout{Milli(0), std::chrono::hours(24)};

// As options: 0.5 to 1, and 0.0001 to 0.5.
inline constexpr Range kSemanticThresholdPermille{500, 1000};
inline constexpr Range kFalseHitsPerMillion{100, 500'000};
inline constexpr Range kAuditedPercent{1, 100};
inline constexpr Range kSemanticCapacity{1 << 20, kMostBytes};
inline constexpr Range kFlatLimit{1, 1 << 20};

inline constexpr Range kConcurrency{1, 1024};
inline constexpr Range kPoolSlots{1, 1024};
inline constexpr Range kBatchSize{1, 1 << 20};
inline constexpr Range kTokensInStep{0, kMostTokens};
inline constexpr Range kBufferChunks{1, 4096};
inline constexpr Range kBufferBytes{1, kMostBytes};
/// 0 = four times max_batch_size.
inline constexpr Range kSequences{0, 1 << 20};
inline constexpr Range kBatchTokens{1, kMostTokens};
inline constexpr TimeRange<Micro> kQueueDelay{Micro(0), std::chrono::minutes(1)};
inline constexpr Range kBatchBytes{1, kMostBytes};
// Together at most 100.
inline constexpr Range kInteractiveFloor{0, 60};
inline constexpr Range kBatchFloor{0, 40};
inline constexpr TimeRange<Micro> kClassWait{Micro(0), std::chrono::hours(1)};
inline constexpr Range kQueuedItems{1, 1 << 22};
inline constexpr Range kQueuedTokens{1, kMostTokens};
inline constexpr Range kQueuedBytes{1, kMostBytes};
/// Of all models together; 0 = no cap.
inline constexpr Range kEngineItems{0, std::int64_t{1} << 32};
inline constexpr Range kEngineTokens{0, kMostTokens};
inline constexpr Range kEngineBytes{0, kMostBytes};

inline constexpr TimeRange<Milli> kStuckAfter{Milli(0), std::chrono::hours(24)};
inline constexpr Range kTenantShare{1, 100};
inline constexpr Range kTenants{1, 1 << 20};
inline constexpr TimeRange<Micro> kSlo{Micro(0), std::chrono::hours(1)};
inline constexpr TimeRange<Micro> kStandingDelay{Micro(0), std::chrono::minutes(1)};
/// Of requests or tokens in a period; 0 = no limit.
inline constexpr Range kRate{0, kMostTokens};

}  // namespace tidegate::limits
