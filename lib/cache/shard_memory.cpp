#include "cache/shard_memory.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <new>

#include "base/poison.hpp"
#include "cache/value_facts.hpp"

namespace tidegate {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kLargePage = 2ULL << 20;
/// The array of nodes grows by a page, in small shards by less.
constexpr std::uint64_t kMostNodesAtOnce = kPage / sizeof(EvictionPolicy::Node);
constexpr std::uint64_t kFewestNodesAtOnce = 4;
/// Node::part of those that are free.
constexpr std::uint8_t kFreePart = 255;
/// Blocks moved for one allocation at most, so that none takes long.
constexpr int kMostMoves = 160;

std::byte* map(std::uint64_t bytes) {
  void* const memory =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  // Look-ups are at random all over it: large pages save their search. Where there are none it works all the same.
  if (bytes >= kLargePage) ::madvise(memory, bytes, MADV_HUGEPAGE);
  return static_cast<std::byte*>(memory);
}

}  // namespace

ShardMemory::ShardMemory(std::uint64_t bytes, std::size_t first_slots, ReadSlots& slots, const Sequence& sequence)
    : bytes_(std::clamp(bytes / sizeof(Node) * sizeof(Node), kLeastBytes, Arena::kMostBytes)),
      first_slots_(first_slots),
      base_(map(bytes_)),
      nodes_(reinterpret_cast<Node*>(base_)),
      limit_(bytes_),
      line_(static_cast<Place>(bytes_ / Arena::kStep)),
      arena_(base_, 0, bytes_),
      held_(slots, sequence, {base_, bytes_}) {}

ShardMemory::~ShardMemory() {
  unpoison(base_, bytes_);
  ::munmap(base_, bytes_);
}

std::uint32_t ShardMemory::nodes_at_once() const noexcept {
  return static_cast<std::uint32_t>(std::clamp(bytes_ / kPage, kFewestNodesAtOnce, kMostNodesAtOnce));
}

std::uint32_t ShardMemory::take_node() noexcept {
  if (free_node_ == kNone && !grow_nodes()) return kNone;
  const std::uint32_t number = free_node_;
  unlist(number);
  nodes_[number] = Node{};
  return number;
}

void ShardMemory::give_node(std::uint32_t number) noexcept {
  nodes_[number] = Node{};
  nodes_[number].value = free_node_;
  nodes_[number].bytes = kNone;
  nodes_[number].part = kFreePart;
  if (free_node_ != kNone) nodes_[free_node_].bytes = number;
  free_node_ = number;
  ++free_nodes_;
}

void ShardMemory::unlist(std::uint32_t number) noexcept {
  const Node& node = nodes_[number];
  if (node.value != kNone) nodes_[node.value].bytes = node.bytes;
  (node.bytes != kNone ? nodes_[node.bytes].value : free_node_) = node.value;
  --free_nodes_;
}

/// Nobody can get a reference meanwhile: they are given out under the shard's lock, and to readers without it while
/// nothing changes. Slots first: who has copied a reference out of one may have given it back since.
bool ShardMemory::is_movable(std::uint32_t number) noexcept {
  Node& node = nodes_[number];
  return ValueFacts(node.facts).is_linked() && !held_.contain(node) &&
         std::atomic_ref(node.references).load(std::memory_order_acquire) == 1;
}

void ShardMemory::tell_index() noexcept {
  const std::size_t groups = index_.groups();
  index_where_.store(
      groups == 0 ? 0
                  : std::uint64_t{index_place_} << kGroupsBits | static_cast<std::uint64_t>(std::countr_zero(groups)),
      std::memory_order_relaxed);
}

bool ShardMemory::shrink_nodes(std::uint32_t spare, const Moved& moved) {
  const std::uint32_t count = nodes_at_once();
  if (free_nodes_ < count + spare || nodes() < count) return false;
  const std::uint32_t first = nodes() - count;
  // Not by its references: whoever released the last one may not have given the node back yet.
  const auto is_free = [this](std::uint32_t number) { return nodes_[number].part == kFreePart; };
  for (std::uint32_t number = first; number < nodes(); ++number) {
    if (!is_free(number) && !is_movable(number)) return false;
  }
  for (std::uint32_t number = first; number < nodes(); ++number) {
    if (is_free(number)) unlist(number);
  }
  for (std::uint32_t number = first; number < nodes(); ++number) {
    if (is_free(number)) continue;
    const std::uint32_t to = free_node_;
    unlist(to);
    nodes_[to] = nodes_[number];
    arena_.set_owner(nodes_[to].value, to);
    index_.renumber(hash_of(nodes_[to].key), number, to);
    moved(nodes_[number], nodes_[to]);
  }
  node_bytes_ -= count * sizeof(Node);
  arena_.grow_front(count * sizeof(Node));
  last_freed_ = 0;
  return true;
}

bool ShardMemory::grow_nodes() noexcept {
  const std::uint64_t size = nodes_at_once() * sizeof(Node);
  if (used_bytes() + size > limit_) return false;
  if (!arena_.is_free(arena_.first()) && !move_away(arena_.first())) return false;
  // The rest of the first block must be one of its own, or nothing.
  if (!gather(arena_.first(), size)) return false;
  last_freed_ = 0;
  arena_.cut_front(size);
  const std::uint32_t first = nodes();
  node_bytes_ += size;
  for (std::uint32_t number = nodes(); number-- > first;) give_node(number);
  return true;
}

bool ShardMemory::has_slot() noexcept {
  if (!index_.full()) return true;
  const std::size_t slots = std::max(index_.slots() * 2, first_slots_);
  const Place place = find_room(KeyIndex::bytes_for(slots), kIndexOwner);
  if (place == 0) return false;
  KeyIndex larger(arena_.at(place), slots);
  larger.take_from(index_, nodes_);
  index_ = larger;
  if (index_place_ != 0) free(index_place_);
  index_place_ = place;
  tell_index();
  return true;
}

ShardMemory::Place ShardMemory::allocate(std::uint64_t bytes, std::uint32_t number) noexcept {
  return find_room(bytes, number);
}

ShardMemory::Place ShardMemory::find_room(std::uint64_t bytes, std::uint32_t owner) noexcept {
  const std::uint64_t size = Arena::block_bytes(bytes);
  if (used_bytes() + size > limit_) return 0;
  Place place = arena_.allocate(bytes, owner);
  if (place == 0) {
    // Enough is free, but in pieces: what lies behind the last one freed is moved into others.
    place = last_freed_;
    if (place == 0 || arena_.free_bytes() < 2 * size || !gather(place, size)) return 0;
    arena_.trim(place, bytes);
    arena_.set_owner(place, owner);
  }
  last_freed_ = 0;
  // A block may be a step larger than it had to be.
  if (used_bytes() <= limit_) return place;
  free(place);
  return 0;
}

/// Makes of the free stretch at `start` a block in use of `size` or more, by moving what
/// is behind it; what it has more is nothing or a block's worth. Where that fails it is free again.
bool ShardMemory::gather(Place start, std::uint64_t size) noexcept {
  arena_.claim(start, kGathered);
  for (int moves = 0;;) {
    const std::uint64_t has = arena_.size_of(start);
    if (has == size || has >= size + Arena::kSmallestBlock) return true;
    if (arena_.absorb_next(start)) continue;
    const Place behind = arena_.next(start);
    if (behind == 0 || ++moves > kMostMoves || !move_away(behind)) {
      last_freed_ = arena_.free(start);
      return false;
    }
  }
}

/// Copies a block elsewhere and frees it. False if it must stay or there is no room.
bool ShardMemory::move_away(Place place) noexcept {
  const std::uint32_t owner = arena_.owner_of(place);
  if (owner == kClosed || owner == kGathered) return false;
  if (owner != kIndexOwner && !is_movable(owner)) return false;
  const std::uint64_t bytes = arena_.size_of(place) - Arena::kHeaderBytes;
  const Place to = arena_.allocate(bytes, owner);
  if (to == 0) return false;
  if (arena_.size_of(to) > arena_.size_of(place) && used_bytes() - arena_.size_of(place) > limit_) {
    arena_.free(to);
    return false;
  }
  std::memcpy(arena_.at(to), arena_.at(place), bytes);
  if (owner == kIndexOwner) {
    index_place_ = to;
    index_.moved_to(arena_.at(to));
    tell_index();
  } else {
    nodes_[owner].value = to;
  }
  free(place);
  return true;
}

void ShardMemory::resize(std::uint64_t bytes, const std::function<void(std::uint32_t)>& drop) {
  line_ = static_cast<Place>(std::min(bytes, bytes_) / Arena::kStep);
  // First of all nothing new may go beyond the line.
  close_all();
  for (Place place = arena_.first(); place != 0; place = arena_.next(place)) {
    if (arena_.is_free(place) || arena_.owner_of(place) == kClosed) continue;
    if (place + arena_.size_of(place) / Arena::kStep <= line_) continue;
    const std::uint32_t owner = arena_.owner_of(place);
    last_freed_ = 0;
    if (!move_away(place) && owner != kIndexOwner) drop(owner);
    // Where it was, or the start of the free stretch it has become part of; it stays if it is held.
    if (last_freed_ != 0) place = close(last_freed_, line_);
  }
  // Once more, for neighbours that have become one stretch of whole pages.
  close_all();
  last_freed_ = 0;
}

void ShardMemory::close_all() noexcept {
  for (Place place = arena_.first(); place != 0; place = arena_.next(place)) {
    if (arena_.is_free(place) || arena_.owner_of(place) != kClosed) continue;
    closed_bytes_ -= arena_.size_of(place);
    place = arena_.free(place);
  }
  for (Place place = arena_.first(); place != 0; place = arena_.next(place)) {
    if (!arena_.is_free(place)) continue;
    place = close(place, line_);
    if (arena_.owner_of(place) == kClosed) give_pages_back(place);
  }
}

/// Takes the part of a free stretch that is beyond the line out of use. Returns the last of its parts.
ShardMemory::Place ShardMemory::close(Place place, Place line) noexcept {
  const auto end = static_cast<Place>(place + arena_.size_of(place) / Arena::kStep);
  constexpr auto kSmallest = static_cast<Place>(Arena::kSmallestBlock / Arena::kStep);
  if (end < line + kSmallest) return place;
  arena_.claim(place, kClosed);
  Place closed = place;
  if (place + kSmallest <= line) {
    closed = arena_.split(place, (line - place) * Arena::kStep);
    arena_.free(place);
  }
  closed_bytes_ += arena_.size_of(closed);
  return closed;
}

void ShardMemory::give_pages_back(Place place) noexcept {
  const auto begin = (reinterpret_cast<std::uintptr_t>(arena_.at(place)) + kPage - 1) / kPage * kPage;
  const auto end = (reinterpret_cast<std::uintptr_t>(arena_.at(place)) + arena_.size_of(place) - Arena::kHeaderBytes) /
                   kPage * kPage;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

void ShardMemory::reset() noexcept {
  unpoison(base_, bytes_);
  ::madvise(base_, bytes_, MADV_DONTNEED);
  node_bytes_ = 0;
  free_node_ = kNone;
  free_nodes_ = 0;
  closed_bytes_ = 0;
  last_freed_ = 0;
  index_place_ = 0;
  index_ = KeyIndex();
  tell_index();
  arena_ = Arena(base_, 0, bytes_);
  static_cast<void>(close(arena_.first(), line_));
}

}  // namespace tidegate
