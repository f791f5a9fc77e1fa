#include "cache/memory_shares.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/try.hpp"

namespace tidegate {
namespace {

/// A curve takes about a hundredth of the smallest budget that has a full one.
constexpr std::uint64_t kBytesPerCurveKey = 8192;
constexpr std::uint32_t kFewestCurveKeys = 64;
constexpr std::uint32_t kMostCurveKeys = 1024;
/// A share has room for something, whatever it brings: else it could never show that it brings more.
constexpr std::uint64_t kLeastPart = 256;
/// Smaller parts of the budget that are free are not worth a change of every share.
constexpr std::uint64_t kLeastGift = 1024;
/// Weight of what was counted before, at each decision: the last twenty count.
constexpr double kFading = 0.95;

std::uint32_t curve_keys(std::uint64_t capacity) {
  return static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(capacity / kBytesPerCurveKey, kFewestCurveKeys, kMostCurveKeys));
}

void add_counters(CacheTierStats& sum, const CacheTierStats& one) {
  sum.hits += one.hits;
  sum.misses += one.misses;
  sum.expired += one.expired;
  sum.stale += one.stale;
  sum.inserted += one.inserted;
  sum.evicted += one.evicted;
  sum.rejected += one.rejected;
}

Error refused(std::string message) { return Error(ErrorCode::invalid_argument, std::move(message)); }

}  // namespace

MemoryShare::MemoryShare(std::string name, MemoryCacheOptions options, std::shared_ptr<Clock> clock,
                         MemoryCache::Staleness staleness, std::uint32_t keys)
    : model(std::move(name)), memory(options, std::move(clock), staleness), curve(options.capacity_bytes, keys) {}

void MemoryShare::count() {
  if (const auto all = all_.lock()) all->count();
}

void MemoryShares::Leave::operator()(MemoryShare* share) const noexcept {
  Owned owned(share);
  if (const auto shares = all.lock()) shares->leave(std::move(owned));
}

MemoryShares::MemoryShares(MemoryCacheOptions options, Surroundings surroundings)
    : options_(options),
      around_(std::move(surroundings)),
      curve_keys_(curve_keys(options.capacity_bytes)),
      // Its bookkeeping is of the size that the whole budget would need; pages are taken when touched.
      overhead_(MemoryCache(options, around_.clock).stats().bytes + ReuseCurve::heap_bytes(curve_keys_)),
      floor_(overhead_ + options.capacity_bytes / kLeastPart),
      counts_per_decision_(
          static_cast<std::uint32_t>(std::clamp<std::uint64_t>(options.capacity_bytes / kBytesPerLookup,
                                                               kLookupsPerDecision, kMostLookupsPerDecision) /
                                     MemoryShare::kCountedOneIn)),
      total_(options.capacity_bytes) {}

void MemoryShares::count() noexcept {
  // Whoever makes it full has it decided; while that is not done, others count on.
  if (counted_.fetch_add(1, std::memory_order_relaxed) + 1 != counts_per_decision_) return;
  try {
    if (const auto executor = around_.executor.lock()) {
      executor->post([weak = weak_from_this()] {
        if (const auto self = weak.lock()) self->balance();
      });
      return;
    }
  } catch (...) {
    // The next window asks again.
  }
  counted_.store(0, std::memory_order_relaxed);
}

std::uint64_t MemoryShares::promised(const CacheShare& limits) const {
  const double part =
      options_.capacity_bytes == 0 ? 0 : static_cast<double>(total_) / static_cast<double>(options_.capacity_bytes);
  return std::max(static_cast<std::uint64_t>(part * static_cast<double>(limits.min_bytes)), floor_);
}

std::uint64_t MemoryShares::most_of(const MemoryShare& share) const {
  const std::uint64_t most = share.limits_.max_bytes == 0 ? total_ : std::min(share.limits_.max_bytes, total_);
  return std::max(most, promised(share.limits_));
}

std::vector<MemoryShare*> MemoryShares::others(const MemoryShare* except) const {
  std::vector<MemoryShare*> list;
  list.reserve(shares_.size());
  for (MemoryShare* const share : shares_) {
    if (share != except) list.push_back(share);
  }
  return list;
}

std::vector<ShareView> MemoryShares::views(const MemoryShare* except) const {
  std::vector<ShareView> views;
  views.reserve(shares_.size());
  for (const MemoryShare* const share : others(except)) {
    views.push_back({share->bytes_, promised(share->limits_), most_of(*share), share->curve.hits(), overhead_});
  }
  return views;
}

Result<void> MemoryShares::check(const std::string& model, const CacheShare& limits, const MemoryShare* except) const {
  std::uint64_t taken = 0;
  for (const MemoryShare* const share : others(except)) {
    taken += std::max(share->limits_.min_bytes, floor_);
  }
  const std::uint64_t all = options_.capacity_bytes;
  const std::uint64_t left = all - std::min(all, taken);
  if (limits.min_bytes > left) {
    return refused(
        fmt::format("model '{}': cache.share.min_bytes is {}; it must be 0 to {}, which the other models leave of "
                    "cache.memory.capacity_bytes, {}",
                    model, limits.min_bytes, left, all));
  }
  if (floor_ > left) {
    return refused(
        fmt::format("model '{}': cache.memory.capacity_bytes is {}; it must be {} at least for one model more", model,
                    all, taken + floor_));
  }
  if (limits.max_bytes != 0 && limits.max_bytes < floor_) {
    return refused(
        fmt::format("model '{}': cache.share.max_bytes is {}; it must be 0 (no limit) or {} to {}, for a share of "
                    "this budget begins with that",
                    model, limits.max_bytes, floor_, all));
  }
  return {};
}

std::uint64_t MemoryShares::free_bytes() const {
  std::uint64_t taken = 0;
  for (const MemoryShare* const share : shares_) {
    // Answers that left and are still used may keep it from shrinking at once.
    taken += std::max(share->bytes_, share->memory.stats().bytes + ReuseCurve::heap_bytes(curve_keys_));
  }
  for (const Owned& share : leaving_) taken += share->memory.stats().bytes + ReuseCurve::heap_bytes(curve_keys_);
  return total_ - std::min(total_, taken);
}

void MemoryShares::set_bytes(MemoryShare& share, std::uint64_t bytes) {
  const std::uint64_t curve = ReuseCurve::heap_bytes(curve_keys_);
  share.bytes_ = bytes;
  share.memory.resize(bytes - std::min(bytes, curve));
}

void MemoryShares::make_room(std::uint64_t bytes, const MemoryShare* except) {
  const std::uint64_t free = free_bytes();
  if (bytes <= free) return;
  const std::vector<MemoryShare*> givers = others(except);
  const auto sizes = sizes_with_room(views(except), bytes - free);
  for (std::size_t i = 0; i < givers.size(); ++i) {
    if (sizes[i] < givers[i]->bytes_) set_bytes(*givers[i], sizes[i]);
  }
}

void MemoryShares::keep_limits(MemoryShare& share) {
  if (share.bytes_ > most_of(share)) set_bytes(share, most_of(share));
  const std::uint64_t least = promised(share.limits_);
  if (share.bytes_ >= least) return;
  make_room(least - share.bytes_, &share);
  const std::uint64_t given = std::min(least - share.bytes_, free_bytes());
  if (given > 0) set_bytes(share, share.bytes_ + given);
}

MemoryShare* MemoryShares::find(std::string_view model) const {
  // The last of a name: a former one may be about to leave.
  for (auto share = shares_.rbegin(); share != shares_.rend(); ++share) {
    if ((*share)->model == model) return *share;
  }
  return nullptr;
}

void MemoryShares::give_away_free() {
  const std::uint64_t free = free_bytes();
  if (free <= options_.capacity_bytes / kLeastGift) return;
  const auto sizes = sizes_with_gift(views(nullptr), free);
  for (std::size_t i = 0; i < shares_.size(); ++i) {
    if (sizes[i] > shares_[i]->bytes_) set_bytes(*shares_[i], sizes[i]);
  }
}

Result<std::shared_ptr<MemoryShare>> MemoryShares::open(const std::string& model, const CacheShare& limits) {
  std::vector<std::shared_ptr<MemoryShare>> held;  // may be the last to hold one, so it goes without the lock
  const MutexLock lock(mutex_);
  held.reserve(open_.size());
  for (const auto& weak : open_) {
    auto known = weak.lock();
    if (known == nullptr) continue;
    held.push_back(std::move(known));
    MemoryShare& share = *held.back();
    if (share.model != model) continue;
    TIDEGATE_CHECK(check(model, limits, &share));
    share.limits_ = limits;
    keep_limits(share);
    give_away_free();
    return held.back();
  }
  TIDEGATE_CHECK(check(model, limits, nullptr));
  std::erase_if(open_, [](const auto& weak) { return weak.expired(); });
  open_.reserve(open_.size() + 1);
  shares_.reserve(shares_.size() + 1);
  const std::uint64_t most = limits.max_bytes == 0 ? total_ : std::min(limits.max_bytes, total_);
  const std::uint64_t equal = std::max(std::min(total_ / (shares_.size() + 1), most), promised(limits));
  make_room(equal, nullptr);
  const std::uint64_t given = std::min(equal, free_bytes());
  if (given < floor_) {
    give_away_free();
    return Error(ErrorCode::unavailable,
                 fmt::format("model '{}': answers that are still used leave {} bytes of the memory cache free, and a "
                             "share begins with {}; release some and try again",
                             model, given, floor_));
  }
  // All of it is free before the first byte of it is taken.
  auto made = std::make_unique<MemoryShare>(model, options_, around_.clock, around_.staleness, curve_keys_);
  made->all_ = weak_from_this();
  made->limits_ = limits;
  set_bytes(*made, given);
  std::shared_ptr<MemoryShare> share(made.release(), Leave{});
  open_.push_back(share);
  shares_.push_back(share.get());
  std::get_deleter<Leave>(share)->all = weak_from_this();
  give_away_free();
  return share;
}

Result<void> MemoryShares::set_limits(const std::string& model, const CacheShare& limits) {
  const MutexLock lock(mutex_);
  MemoryShare* const share = find(model);
  if (share == nullptr) {
    return Error(ErrorCode::not_found, fmt::format("no model '{}' has a share of the memory cache", model));
  }
  TIDEGATE_CHECK(check(model, limits, share));
  share->limits_ = limits;
  keep_limits(*share);
  give_away_free();
  return {};
}

std::optional<CacheShare> MemoryShares::limits_of(std::string_view model) const {
  const MutexLock lock(mutex_);
  const MemoryShare* const share = find(model);
  return share != nullptr ? std::optional(share->limits_) : std::nullopt;
}

void MemoryShares::leave(Owned share) noexcept {
  try {
    const MutexLock lock(mutex_);
    std::erase(shares_, share.get());
    share->memory.resize(0);
    const CacheTierStats stats = share->memory.stats();
    add_counters(gone_, stats);
    if (stats.pinned > 0) {
      leaving_.push_back(std::move(share));
    } else {
      share.reset();
    }
    give_away_free();
  } catch (...) {
    // Without memory to divide what has become free, the next decision does.
  }
}

void MemoryShares::resize(std::uint64_t capacity_bytes) {
  const MutexLock lock(mutex_);
  const std::uint64_t before = total_;
  total_ = std::min(capacity_bytes, options_.capacity_bytes);
  if (total_ < before) {
    for (MemoryShare* const share : shares_) {
      const double part = static_cast<double>(total_) / static_cast<double>(before);
      set_bytes(*share, static_cast<std::uint64_t>(static_cast<double>(share->bytes_) * part));
    }
  }
  for (MemoryShare* const share : shares_) {
    if (total_ >= before) keep_limits(*share);
  }
  give_away_free();
}

void MemoryShares::balance() {
  const MutexLock lock(mutex_);
  counted_.store(0, std::memory_order_relaxed);
  std::erase_if(leaving_, [](const Owned& share) { return share->memory.stats().pinned == 0; });
  give_away_free();
  if (shares_.size() >= 2) {
    const std::uint64_t step = std::max<std::uint64_t>(total_ / kStepPart, 1);
    if (const auto move = best_move(views(nullptr), shares_.front()->curve.part_bytes(), step)) {
      MemoryShare& giver = *shares_[move->from];
      MemoryShare& taker = *shares_[move->to];
      set_bytes(giver, giver.bytes_ - move->bytes);
      const std::uint64_t given = std::min(move->bytes, free_bytes());
      if (given > 0) set_bytes(taker, taker.bytes_ + given);
    }
  }
  for (MemoryShare* const share : shares_) share->curve.fade(kFading);
}

std::vector<std::shared_ptr<MemoryShare>> MemoryShares::open_shares() const {
  std::vector<std::shared_ptr<MemoryShare>> held;  // given away or dropped without the lock
  const MutexLock lock(mutex_);
  held.reserve(open_.size());
  for (const auto& weak : open_) {
    if (auto share = weak.lock()) held.push_back(std::move(share));
  }
  return held;
}

std::vector<CacheShareStats> MemoryShares::shares() const {
  std::vector<CacheShareStats> list;
  const MutexLock lock(mutex_);
  list.reserve(shares_.size());
  for (const MemoryShare* const share : shares_) {
    CacheShareStats one;
    one.model = share->model;
    one.bytes = share->bytes_;
    one.min_bytes = promised(share->limits_);
    one.max_bytes = most_of(*share);
    one.memory = share->memory.stats();
    one.memory.bytes += ReuseCurve::heap_bytes(curve_keys_);
    list.push_back(std::move(one));
  }
  return list;
}

CacheTierStats MemoryShares::stats() const {
  const MutexLock lock(mutex_);
  CacheTierStats sum = gone_;
  const auto add_gauges = [&](const CacheTierStats& one) {
    sum.entries += one.entries;
    sum.bytes += one.bytes + ReuseCurve::heap_bytes(curve_keys_);
    sum.pinned += one.pinned;
  };
  for (const MemoryShare* const share : shares_) {
    const CacheTierStats one = share->memory.stats();
    add_counters(sum, one);
    add_gauges(one);
  }
  for (const Owned& share : leaving_) add_gauges(share->memory.stats());
  return sum;
}

}  // namespace tidegate
