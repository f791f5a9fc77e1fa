#include "cache/memory_shard.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "cache/heap_charge.hpp"
#include "cache/value_facts.hpp"

namespace tidegate {
namespace {

/// The policy remembers a key for every 3 KiB: half as many as there are entries where
/// answers are small vectors, for less than half a percent of the budget.
constexpr std::uint64_t kBytesPerRememberedKey = 3072;
/// The index starts fit for entries of 4 KiB and grows where they are smaller.
constexpr std::uint64_t kBytesPerFirstSlot = 4096;
constexpr std::uint64_t kLargestEntryPart = 8;
/// Of the share, what may be held of entries that left, before nothing more is stored.
constexpr std::uint64_t kPinnedPart = 4;
/// An entry's part of the index, at a usual load.
constexpr std::uint64_t kIndexBytes = 8;
/// Nodes that a put looks at for expired ones.
constexpr std::uint32_t kLooksPerPut = 4;
/// Looks of one look-up, each ended by a change meanwhile, before it takes the lock.
constexpr int kLooksWithoutLock = 3;
/// Nodes that `some_from` looks at under the lock.
constexpr std::uint32_t kNodesAtOnce = 64;

constexpr std::uint32_t remembered_keys(std::uint64_t share) {
  return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(share / kBytesPerRememberedKey, 16, 1U << 30));
}

constexpr std::size_t first_slots(std::uint64_t share) {
  return std::bit_ceil(std::max<std::uint64_t>(share / kBytesPerFirstSlot, KeyIndex::kGroup));
}

TimePoint later(TimePoint now, Duration life) { return life > TimePoint::max() - now ? TimePoint::max() : now + life; }

/// Readers without the lock look at it while the entry leaves.
ValueFacts facts_of(const EvictionPolicy::Node& node) {
  return ValueFacts(std::atomic_ref(const_cast<std::uint16_t&>(node.facts)).load(std::memory_order_relaxed));
}

std::uint64_t without(std::uint64_t from, std::uint64_t bytes) { return from > bytes ? from - bytes : 0; }

}  // namespace

MemoryShard::MemoryShard(std::uint64_t share, Staleness staleness, std::unique_ptr<EvictionPolicy> order,
                         std::shared_ptr<ReadSlots> slots)
    : order_(std::move(order)),
      slots_(std::move(slots)),
      staleness_(staleness),
      tail_bytes_(staleness.window > Duration::zero() ? sizeof(TimePoint) : 0),
      memory_(without(share, heap_bytes(*order_, *slots_)), first_slots(share), *slots_, sequence_),
      fixed_bytes_(heap_bytes(*order_, *slots_) + Arena::kOwnBytes),
      first_share_(share),
      share_(share) {
  set_limits();
}

/// What it takes outside its mapping.
std::uint64_t MemoryShard::heap_bytes(const EvictionPolicy& order, const ReadSlots& slots) noexcept {
  return heap_charge(sizeof(MemoryShard) + alignof(MemoryShard)) + sizeof(void*) + order.heap_bytes() +
         slots.bytes_each();
}

MemoryShard::Pointer MemoryShard::create(std::uint64_t share, CachePolicy policy, Staleness staleness,
                                         std::shared_ptr<ReadSlots> slots) {
  return Pointer(
      new MemoryShard(share, staleness, make_eviction_policy(policy, remembered_keys(share)), std::move(slots)));
}

std::uint64_t MemoryShard::charge_of(std::uint64_t bytes) noexcept {
  return sizeof(Node) + kIndexBytes + Arena::block_bytes(bytes);
}

std::uint64_t MemoryShard::used_bytes() const {
  return fixed_bytes_ + memory_.used_bytes() + memory_.index().count() * order_->bytes_per_entry();
}

void MemoryShard::set_limits() {
  order_->set_budget(without(share_, fixed_bytes_));
  // With what the policy takes from the heap for one entry more.
  memory_.set_limit(without(share_, fixed_bytes_ + (memory_.index().count() + 1) * order_->bytes_per_entry()));
}

std::span<std::byte> MemoryShard::value_of(const Node& node) const {
  const std::uint64_t block = node.bytes - sizeof(Node) - kIndexBytes - Arena::kHeaderBytes;
  return {memory_.at(node.value), block - facts_of(node).spare_bytes() - tail_bytes_};
}

std::optional<MemoryHit> MemoryShard::find(const CacheKey& key, std::uint64_t hash, const Clock& clock) {
  if (order_->hits() == EvictionPolicy::Hits::order) return find_locked(key, hash, clock);
  ReadSlots::Line* const line = slots_->own_line();
  if (line == nullptr) return find_locked(key, hash, clock);
  for (int look_up = 0; look_up < kLooksWithoutLock; ++look_up) {
    Sight sight = look(key, hash, *line);
    if (sight.is == Sight::Is::unknown) continue;
    if (sight.is == Sight::Is::absent) {
      ReadSlots::Line::count(line->misses);
      return std::nullopt;
    }
    if (!is_fresh(sight.hit.expires_at, clock)) break;
    ReadSlots::Line::count(line->hits);
    order_->hit(*sight.node);
    return std::move(sight.hit);
  }
  return find_locked(key, hash, clock);
}

/// Holds what may be the key's node before it reads it: if nothing has changed since the search began, the node was in
/// the index while it was already held, so that it stays what it is (Michael, see read_slots.hpp).
MemoryShard::Sight MemoryShard::look(const CacheKey& key, std::uint64_t hash, ReadSlots::Line& line) {
  Sight sight;
  const std::uint64_t before = sequence_.number();
  if (Sequence::is_change(before)) return sight;
  std::optional<IndexSearch> search = memory_.search(hash);
  for (std::uint32_t number = search ? search->next() : ShardMemory::kNone; number != ShardMemory::kNone;
       number = search->next()) {
    if (!memory_.may_be(number)) return sight;
    Node& node = memory_.node(number);
    __builtin_prefetch(&node);
    ReadSlots::Slot& slot = line.free_slot();
    slot.hold(node);
    HeldValue held(*this, node, &slot, {}, 0);
    if (sequence_.number() != before) return sight;
    if (node.key != key) continue;
    held.set_value(value_of(node), facts_of(node).bits());
    sight.is = Sight::Is::held;
    sight.node = &node;
    sight.hit.expires_at = node.expires_at;
    if (line.is_last(slot)) {
      sight.hit.value = HeldValue(std::as_const(held));
    } else {
      sight.hit.value = std::move(held);
    }
    return sight;
  }
  if (sequence_.is_still(before)) sight.is = Sight::Is::absent;
  return sight;
}

/// Reads the exact time only where it matters.
bool MemoryShard::is_fresh(TimePoint expires_at, const Clock& clock) const noexcept {
  const TimePoint stale_at = expires_at - staleness_.window;
  return later(clock.coarse_now(), Clock::kMostLag) < stale_at || clock.now() < stale_at;
}

std::optional<MemoryHit> MemoryShard::find_locked(const CacheKey& key, std::uint64_t hash, const Clock& clock) {
  const SpinLock lock(mutex_);
  // The node comes from memory while the clock is read.
  memory_.index().prefetch_node(hash, &memory_.node(0));
  const TimePoint now = clock.now();
  const std::uint32_t number = memory_.index().find(key, hash, &memory_.node(0));
  if (number == ShardMemory::kNone) {
    ++misses_;
    return std::nullopt;
  }
  Node& node = memory_.node(number);
  if (node.expires_at <= now) {
    const Sequence::Change change(sequence_);
    ++misses_;
    ++stats_.expired;
    retire(node);
    return std::nullopt;
  }
  ++hits_;
  order_->hit(node);
  return hold(node, age_of(node, now));
}

MemoryHit MemoryShard::hold(Node& node, MemoryHit::Age age) {
  std::atomic_ref(node.references).fetch_add(1, std::memory_order_relaxed);
  return {HeldValue(*this, node, nullptr, value_of(node), facts_of(node).bits()), node.expires_at, age};
}

/// The first asker of a stale entry renews it, and the next one if that takes too long.
MemoryHit::Age MemoryShard::age_of(Node& node, TimePoint now) {
  if (tail_bytes_ == 0 || now < node.expires_at - staleness_.window) return MemoryHit::Age::fresh;
  ++stats_.stale;
  const std::span<std::byte> value = value_of(node);
  std::byte* const tail = value.data() + value.size();
  TimePoint renewable;
  std::memcpy(&renewable, tail, sizeof(renewable));
  if (now < renewable) return MemoryHit::Age::stale;
  renewable = later(now, staleness_.renewal);
  std::memcpy(tail, &renewable, sizeof(renewable));
  return MemoryHit::Age::to_be_renewed;
}

void MemoryShard::put(const Incoming& incoming, TimePoint now) {
  const std::uint64_t bytes = incoming.bytes.size() + tail_bytes_;
  const std::uint64_t charge = charge_of(bytes);
  Node entry;
  entry.key = incoming.key;
  entry.expires_at = later(now, incoming.time_to_live);
  entry.facts = ValueFacts(incoming.plain ? ValueFacts::Kind::plain : ValueFacts::Kind::body,
                           Arena::block_bytes(bytes) - Arena::kHeaderBytes - bytes, incoming.recompute_cost)
                    .bits();

  const SpinLock lock(mutex_);
  const Sequence::Change change(sequence_);
  look_for_expired(now);
  // After answers became larger, fewer entries are needed for good.
  static_cast<void>(memory_.shrink_nodes(memory_.nodes() / 4, node_moved_));
  const std::uint64_t most =
      std::min<std::uint64_t>(share_ / kLargestEntryPart, std::numeric_limits<std::uint32_t>::max());
  const bool fits = charge <= most && stats_.pinned <= share_ / kPinnedPart;
  entry.bytes = fits ? static_cast<std::uint32_t>(charge) : 0;
  const std::uint32_t old = memory_.index().find(incoming.key, incoming.hash, &memory_.node(0));
  if (old != ShardMemory::kNone) {
    // A newer answer inherits the place its key has earned. Where it is too large,
    // the older one must not outlive it.
    entry.part = memory_.node(old).part;
    entry.frequency = std::atomic_ref(memory_.node(old).frequency).load(std::memory_order_relaxed);
    retire(memory_.node(old));
  } else if (fits) {
    order_->admit(entry);
  }
  const Room room = fits ? make_room(entry, bytes) : Room{};
  if (room.place == 0) {
    ++stats_.rejected;
    return;
  }
  store(room, entry, incoming);
}

void MemoryShard::store(Room room, const Node& entry, const Incoming& incoming) {
  Node& node = memory_.node(room.number);
  node = entry;
  node.value = room.place;
  node.references = 1;
  node.facts = ValueFacts(entry.facts).linked().bits();
  const std::span<std::byte> value = value_of(node);
  if (!incoming.bytes.empty()) std::memcpy(value.data(), incoming.bytes.data(), incoming.bytes.size());
  std::memset(value.data() + value.size(), 0, tail_bytes_);
  if (tail_bytes_ != 0) {
    const TimePoint renewable = TimePoint::min();
    std::memcpy(value.data() + value.size(), &renewable, sizeof(renewable));
  }
  try {
    order_->add(node);
  } catch (...) {  // a policy that takes memory for each entry
    memory_.free(room.place);
    memory_.give_node(room.number);
    throw;
  }
  memory_.index().insert(incoming.hash, room.number);
  ++stats_.inserted;
}

/// Evicts until there is a node, a slot of the index and a block; without a place if there is
/// nothing left to evict or the policy keeps what is there.
MemoryShard::Room MemoryShard::make_room(const Node& incoming, std::uint64_t bytes) {
  Room room;
  for (;;) {
    set_limits();
    if (room.number == ShardMemory::kNone) room.number = memory_.take_node();
    if (room.number != ShardMemory::kNone && memory_.has_slot()) {
      room.place = memory_.allocate(bytes, room.number);
      if (room.place != 0) return room;
    }
    Node* const victim = order_->evict(incoming);
    if (victim == nullptr) break;
    ++stats_.evicted;
    forget(*victim);
  }
  if (room.number != ShardMemory::kNone) memory_.give_node(room.number);
  return {};
}

void MemoryShard::retire(Node& node) {
  order_->remove(node);
  forget(node);
}

void MemoryShard::forget(Node& node) {
  memory_.index().remove(hash_of(node.key), memory_.number_of(node));
  std::atomic_ref(node.facts).store(facts_of(node).unlinked().bits(), std::memory_order_relaxed);
  memory_.count_readers(node);
  if (std::atomic_ref(node.references).fetch_sub(1, std::memory_order_acq_rel) == 1) {
    release_memory(node);
  } else {
    stats_.pinned += node.bytes;
    ++pinned_;
  }
}

void MemoryShard::release_memory(Node& node) {
  memory_.free(node.value);
  memory_.give_node(memory_.number_of(node));
}

void MemoryShard::let_go(Node& node) noexcept {
  bool last = false;
  {
    const SpinLock lock(mutex_);
    stats_.pinned -= node.bytes;
    --pinned_;
    release_memory(node);
    last = left_ && pinned_ == 0;
  }
  if (last) delete this;
}

void MemoryShard::leave() noexcept {
  bool last = false;
  {
    const SpinLock lock(mutex_);
    const Sequence::Change change(sequence_);
    evict_all();
    left_ = true;
    last = pinned_ == 0;
  }
  if (last) delete this;
}

void MemoryShard::evict_all() {
  for (std::uint32_t number = 0; number < memory_.nodes(); ++number) {
    Node& node = memory_.node(number);
    if (ValueFacts(node.facts).is_linked()) retire(node);
  }
}

void MemoryShard::reset_if_unused() {
  if (memory_.index().count() == 0 && pinned_ == 0) memory_.reset();
}

void MemoryShard::look_for_expired(TimePoint now) {
  for (std::uint32_t look = 0; look < kLooksPerPut && memory_.nodes() > 0; ++look) {
    hand_ = hand_ + 1 < memory_.nodes() ? hand_ + 1 : 0;
    Node& node = memory_.node(hand_);
    if (ValueFacts(node.facts).is_linked() && node.expires_at <= now) retire(node);
  }
}

void MemoryShard::erase(const CacheKey& key, std::uint64_t hash) {
  const SpinLock lock(mutex_);
  const std::uint32_t number = memory_.index().find(key, hash, &memory_.node(0));
  if (number == ShardMemory::kNone) return;
  const Sequence::Change change(sequence_);
  retire(memory_.node(number));
}

void MemoryShard::clear() {
  const SpinLock lock(mutex_);
  const Sequence::Change change(sequence_);
  evict_all();
  reset_if_unused();
}

void MemoryShard::resize(std::uint64_t share) {
  const SpinLock lock(mutex_);
  const Sequence::Change change(sequence_);
  share_ = std::min(share, first_share_);
  set_limits();
  const Node nobody;
  while (memory_.index().count() > 0 && used_bytes() > share_) {
    if (memory_.shrink_nodes(0, node_moved_)) continue;
    Node* const victim = order_->evict(nobody);
    if (victim == nullptr) {  // the policy would rather turn the newcomer away
      std::size_t slot = 0;
      retire(memory_.node(memory_.index().next(slot)));
    } else {
      forget(*victim);
    }
    ++stats_.evicted;
  }
  reset_if_unused();
  memory_.resize(without(share_, fixed_bytes_), [this](std::uint32_t number) {
    if (!memory_.is_movable(number)) return;
    retire(memory_.node(number));
    ++stats_.evicted;
  });
  set_limits();
}

std::vector<MemoryShard::Living> MemoryShard::some_from(std::uint32_t& from, TimePoint now) {
  std::vector<Living> some;
  some.reserve(kNodesAtOnce);
  const SpinLock lock(mutex_);
  const std::uint32_t end = std::min(memory_.nodes(), from + kNodesAtOnce);
  for (; from < end; ++from) {
    Node& node = memory_.node(from);
    if (!ValueFacts(node.facts).is_linked() || node.expires_at <= now) continue;
    some.push_back({from, order_->heat(node), node.expires_at});
  }
  if (from >= memory_.nodes()) from = ShardMemory::kNone;
  return some;
}

std::optional<MemoryHit> MemoryShard::at(std::uint32_t number, TimePoint now) {
  const SpinLock lock(mutex_);
  if (number >= memory_.nodes()) return std::nullopt;
  Node& node = memory_.node(number);
  if (!ValueFacts(node.facts).is_linked() || node.expires_at <= now) return std::nullopt;
  return hold(node, MemoryHit::Age::fresh);
}

void MemoryShard::add_to(CacheTierStats& total) const {
  const SpinLock lock(mutex_);
  total.hits += hits_;
  total.misses += misses_;
  total.expired += stats_.expired;
  total.stale += stats_.stale;
  total.inserted += stats_.inserted;
  total.evicted += stats_.evicted;
  total.rejected += stats_.rejected;
  total.pinned += stats_.pinned;
  total.entries += memory_.index().count();
  total.bytes += used_bytes();
}

}  // namespace tidegate
