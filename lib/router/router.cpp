#include "router/router.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <utility>

#include "base/mutex.hpp"

namespace tidegate {
namespace {

double ns_of(TimePoint time) noexcept { return static_cast<double>(time.time_since_epoch().count()); }

struct Slot {
  ReplicaId id{};
  std::uint32_t concurrency = 1;
  double weight = 1.0;
  std::uint32_t leased = 0;
  std::uint64_t leases_total = 0;
  std::uint64_t last_leased = 0;  // number of the lease, counted over all replicas; 0 = never
  double expected_ends = 0;       // sum over its leases, nanoseconds since the clock's start
  bool draining = false;

  [[nodiscard]] bool has_room() const noexcept { return !draining && leased < concurrency; }
  /// What it would have to do with this batch: time where that is foreseen, else batches.
  [[nodiscard]] double score(const ReplicaWork& work) const noexcept {
    if (work.predicted <= Duration::zero()) return (static_cast<double>(leased) + 1.0) / weight;
    const double left = expected_ends - ns_of(work.now) * static_cast<double>(leased);
    return (std::max(0.0, left) + static_cast<double>(work.predicted.count())) / weight;
  }
};

bool goes_before(const Slot& a, const Slot& b, const ReplicaWork& work) noexcept {
  const double score_a = a.score(work);
  const double score_b = b.score(work);
  return score_a != score_b ? score_a < score_b : a.last_leased < b.last_leased;
}

}  // namespace

/// Shared by the Router and its leases, so that a lease may end after the Router.
struct ReplicaLease::Table {
  /// Ids only grow, so the slots stay sorted by id. End iterator if unknown.
  std::vector<Slot>::iterator find(std::uint32_t id) TIDEGATE_REQUIRES(mutex) {
    const auto it = std::lower_bound(slots.begin(), slots.end(), id, [](const Slot& slot, std::uint32_t wanted) {
      return static_cast<std::uint32_t>(slot.id) < wanted;
    });
    return it != slots.end() && static_cast<std::uint32_t>(it->id) == id ? it : slots.end();
  }

  /// Answers when the work is expected to end.
  double lease(Slot& slot, const ReplicaWork& work) TIDEGATE_REQUIRES(mutex) {
    ++slot.leased;
    ++slot.leases_total;
    slot.last_leased = ++leases;
    const double expected_end =
        ns_of(work.now) + static_cast<double>(std::max<Duration::rep>(0, work.predicted.count()));
    slot.expected_ends += expected_end;
    return expected_end;
  }

  void release(std::uint32_t id, double expected_end) {
    const MutexLock lock(mutex);
    const auto it = find(id);
    assert(it != slots.end() && it->leased > 0);
    --it->leased;
    it->expected_ends = it->leased == 0 ? 0 : it->expected_ends - expected_end;
    if (it->draining && it->leased == 0) slots.erase(it);
  }

  mutable Mutex mutex;  // leaf: no other lock is taken under it
  std::vector<Slot> slots TIDEGATE_GUARDED_BY(mutex);
  std::uint32_t next_id TIDEGATE_GUARDED_BY(mutex) = 0;
  std::uint64_t leases TIDEGATE_GUARDED_BY(mutex) = 0;
};

// A lease's index is its replica's id: slots move when others are forgotten.
ReplicaLease::ReplicaLease(std::shared_ptr<Table> table, std::uint32_t index, double expected_end) noexcept
    : table_(std::move(table)), index_(index), expected_end_(expected_end) {}

ReplicaLease::ReplicaLease(ReplicaLease&&) noexcept = default;

ReplicaLease& ReplicaLease::operator=(ReplicaLease&& other) noexcept {
  if (this != &other) {
    if (const auto table = std::exchange(table_, std::move(other.table_))) table->release(index_, expected_end_);
    index_ = other.index_;
    expected_end_ = other.expected_end_;
  }
  return *this;
}

ReplicaLease::~ReplicaLease() {
  if (table_) table_->release(index_, expected_end_);
}

ReplicaId ReplicaLease::replica() const noexcept { return ReplicaId{index_}; }

Router::Router() : table_(std::make_shared<ReplicaLease::Table>()) {}
Router::~Router() = default;

ReplicaId Router::add(const ReplicaOptions& options) {
  assert(options.concurrency >= 1 && std::isfinite(options.weight) && options.weight > 0);
  const MutexLock lock(table_->mutex);
  Slot slot;
  slot.id = ReplicaId{table_->next_id++};
  slot.concurrency = options.concurrency;
  slot.weight = options.weight;
  table_->slots.push_back(slot);
  return slot.id;
}

bool Router::remove(ReplicaId id) {
  const MutexLock lock(table_->mutex);
  const auto it = table_->find(static_cast<std::uint32_t>(id));
  if (it == table_->slots.end() || it->draining) return false;
  it->draining = true;
  if (it->leased == 0) table_->slots.erase(it);
  return true;
}

std::optional<ReplicaLease> Router::acquire(const ReplicaWork& work) {
  const MutexLock lock(table_->mutex);
  Slot* best = nullptr;
  for (Slot& slot : table_->slots) {
    if (slot.has_room() && (best == nullptr || goes_before(slot, *best, work))) best = &slot;
  }
  if (best == nullptr) return std::nullopt;
  return ReplicaLease(table_, static_cast<std::uint32_t>(best->id), table_->lease(*best, work));
}

std::optional<ReplicaLease> Router::acquire(ReplicaId id, const ReplicaWork& work) {
  const MutexLock lock(table_->mutex);
  const auto it = table_->find(static_cast<std::uint32_t>(id));
  if (it == table_->slots.end() || !it->has_room()) return std::nullopt;
  return ReplicaLease(table_, static_cast<std::uint32_t>(id), table_->lease(*it, work));
}

std::uint32_t Router::total_concurrency() const {
  const MutexLock lock(table_->mutex);
  std::uint32_t total = 0;
  for (const Slot& slot : table_->slots) {
    if (!slot.draining) total += slot.concurrency;
  }
  return total;
}

std::vector<ReplicaLoad> Router::loads() const {
  const MutexLock lock(table_->mutex);
  std::vector<ReplicaLoad> loads;
  loads.reserve(table_->slots.size());
  for (const Slot& slot : table_->slots) {
    loads.push_back({slot.id, slot.leased, slot.concurrency, slot.leases_total, slot.draining});
  }
  return loads;
}

}  // namespace tidegate
