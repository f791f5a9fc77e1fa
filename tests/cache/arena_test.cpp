// The allocator of the memory tier against a map, and the index on top of it.
#include "cache/arena.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <vector>

#include "base/poison.hpp"
#include "cache/key_index.hpp"
#include "cache_fixtures.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

struct Block {
  std::uint64_t bytes;
  std::uint8_t fill;
};

/// An arena, what it should hold, and every byte of it written.
class ArenaModel {
 public:
  explicit ArenaModel(std::uint64_t bytes)
      : memory_(bytes / 16), arena_(reinterpret_cast<std::byte*>(memory_.data()), 0, bytes) {}

  void allocate(std::uint64_t bytes, std::uint8_t fill) {
    const Arena::Place place = arena_.allocate(bytes, fill);
    if (place == 0) {
      // Only if no free stretch has room for it.
      CHECK(longest_free() < bytes + 2 * Arena::kSmallestBlock + bytes / 4);
      return;
    }
    REQUIRE(reinterpret_cast<std::uintptr_t>(arena_.at(place)) % 16 == 0);
    REQUIRE(blocks_.emplace(place, Block{bytes, fill}).second);
    std::memset(arena_.at(place), fill, bytes);
  }

  void free_one(std::uint64_t number) {
    if (blocks_.empty()) return;
    const auto chosen = std::next(blocks_.begin(), static_cast<std::ptrdiff_t>(number % blocks_.size()));
    CHECK(is_whole(*chosen));
    arena_.free(chosen->first);
    blocks_.erase(chosen);
  }

  /// Every block is whole, none overlaps another, no two free neighbours, nothing is lost.
  void check() const {
    std::uint64_t sum = 0;
    std::uint64_t free = 0;
    std::size_t used = 0;
    bool free_before = false;
    for (Arena::Place place = arena_.first(); place != 0; place = arena_.next(place)) {
      sum += arena_.size_of(place);
      if (arena_.is_free(place)) {
        free += arena_.size_of(place);
        CHECK_FALSE(free_before);
      } else {
        ++used;
        const auto known = blocks_.find(place);
        REQUIRE(known != blocks_.end());
        CHECK(arena_.size_of(place) >= Arena::block_bytes(known->second.bytes));
        CHECK(arena_.size_of(place) < Arena::block_bytes(known->second.bytes) + Arena::kSmallestBlock);
        CHECK(arena_.owner_of(place) == known->second.fill);
        CHECK(is_whole(*known));
      }
      free_before = arena_.is_free(place);
    }
    CHECK(used == blocks_.size());
    CHECK(sum == arena_.total_bytes());
    CHECK(free == arena_.free_bytes());
  }

  Arena& arena() { return arena_; }
  [[nodiscard]] std::uint64_t longest_free() const {
    std::uint64_t longest = 0;
    for (Arena::Place place = arena_.first(); place != 0; place = arena_.next(place)) {
      if (arena_.is_free(place)) longest = std::max(longest, arena_.size_of(place));
    }
    return longest;
  }

 private:
  [[nodiscard]] bool is_whole(const std::pair<const Arena::Place, Block>& block) const {
    const auto* const bytes = reinterpret_cast<const std::uint8_t*>(arena_.at(block.first));
    return std::all_of(bytes, bytes + block.second.bytes, [&](std::uint8_t byte) { return byte == block.second.fill; });
  }

  struct alignas(16) Step {
    std::byte bytes[16];
  };
  std::vector<Step> memory_;
  Arena arena_;
  std::map<Arena::Place, Block> blocks_;
};

}  // namespace

TEST_CASE("arena: against a map: blocks never overlap, free neighbours join, nothing is lost") {
  for (const std::uint64_t largest : {10U, 100U, 3000U}) {
    std::mt19937_64 random(largest);
    ArenaModel model(64 << 10);
    for (int i = 0; i < 20'000; ++i) {
      // Fills up, empties, and fills up again.
      if (random() % 100 < (i / 2000 % 2 == 0 ? 60U : 35U)) {
        model.allocate(random() % largest, static_cast<std::uint8_t>(random()));
      } else {
        model.free_one(random());
      }
      if (i % 50 == 0) model.check();
    }
    for (int i = 0; i < 10'000; ++i) model.free_one(0);
    model.check();
    CHECK(model.longest_free() == model.arena().total_bytes());
  }
}

TEST_CASE("arena: all of it can be one block, and nothing beyond") {
  ArenaModel model(4096);
  const std::uint64_t most = model.arena().total_bytes() - Arena::kHeaderBytes;
  CHECK(model.arena().allocate(most + 1, 0) == 0);
  const Arena::Place all = model.arena().allocate(most, 0);
  REQUIRE(all != 0);
  CHECK(model.arena().free_bytes() == 0);
  CHECK(model.arena().allocate(0, 0) == 0);
  CHECK(model.arena().next(all) == 0);
  model.arena().free(all);
  CHECK(model.arena().free_bytes() == model.arena().total_bytes());
}

TEST_CASE("arena: blocks of one size fill it to the last, again and again") {
  // The size's class has smaller ones too: those freed must be found all the same.
  ArenaModel model(100 * 1552 + Arena::kOwnBytes);
  std::vector<Arena::Place> places;
  for (int i = 0; i < 100; ++i) places.push_back(model.arena().allocate(1544, 0));
  CHECK(std::find(places.begin(), places.end(), 0U) == places.end());
  std::mt19937_64 random(1);
  for (int i = 0; i < 1000; ++i) {
    Arena::Place& place = places[random() % places.size()];
    model.arena().free(place);
    place = model.arena().allocate(1544, 0);
    REQUIRE(place != 0);
  }
}

TEST_CASE("arena: its front is cut off and given back") {
  ArenaModel model(4096);
  Arena& arena = model.arena();
  const std::uint64_t total = arena.total_bytes();
  const Arena::Place block = arena.allocate(1000, 7);
  const Arena::Place behind = arena.allocate(100, 8);
  arena.free(block);
  arena.claim(arena.first(), 1);
  arena.cut_front(256);
  CHECK(arena.total_bytes() == total - 256);
  CHECK(arena.is_free(arena.first()));
  CHECK(arena.next(arena.first()) == behind);
  arena.grow_front(256);
  CHECK(arena.first() == block);
  CHECK(arena.is_free(block));
  CHECK(arena.size_of(block) == Arena::block_bytes(1000));
  CHECK(arena.owner_of(behind) == 8);
  // A whole block, to the byte.
  arena.claim(block, 1);
  arena.cut_front(arena.size_of(block));
  CHECK(arena.first() == behind);
  arena.free(behind);
  CHECK(arena.free_bytes() == arena.total_bytes());
}

#ifdef TIDEGATE_HAS_POISON
TEST_CASE("arena: the address sanitizer finds whoever reads a block that is free, wherever its edges have been") {
  ArenaModel model(4096);
  Arena& arena = model.arena();
  const auto poisoned = [](const std::byte* begin, std::size_t bytes) {
    return __asan_region_is_poisoned(const_cast<std::byte*>(begin), bytes) != nullptr;
  };
  const Arena::Place first = arena.allocate(200, 1);
  const Arena::Place second = arena.allocate(200, 2);
  const Arena::Place third = arena.allocate(200, 3);
  CHECK_FALSE(poisoned(arena.at(second), 200));
  arena.free(second);
  CHECK_FALSE(poisoned(arena.at(first), 200));
  CHECK_FALSE(poisoned(arena.at(third), 200));
  for (std::size_t at = 8; at < 192; at += 8) CHECK(poisoned(arena.at(second) + at, 1));
  // One stretch with its neighbour: what was between them is free, too.
  arena.free(first);
  CHECK(poisoned(arena.at(second), 8));
  const Arena::Place both = arena.allocate(380, 4);
  CHECK(both == first);
  CHECK_FALSE(poisoned(arena.at(both), 380));
}
#endif

TEST_CASE("key index: against a map: finds what is there, by all bits, however full, moved or renumbered") {
  std::vector<EvictionPolicy::Node> nodes(900);
  std::vector<std::uint32_t> unused;
  for (std::uint32_t number = 0; number < nodes.size(); ++number) unused.push_back(number);
  struct alignas(16) Memory {
    std::byte bytes[KeyIndex::bytes_for(1024)];
  };
  Memory first{};
  Memory second{};
  KeyIndex index(first.bytes, 16);
  bool in_first = true;
  std::map<std::uint64_t, std::uint32_t> model;
  std::mt19937_64 random(5);
  std::size_t wrong = 0;
  for (int i = 0; i < 60'000; ++i) {
    const std::uint64_t key = random() % 1200;
    const std::uint64_t hash = hash_of(key_of(key));
    const auto known = model.find(key);
    if (index.find(key_of(key), hash, nodes.data()) != (known != model.end() ? known->second : KeyIndex::kNone))
      ++wrong;
    if (known != model.end() && random() % 3 != 0) {
      index.remove(hash, known->second);
      unused.push_back(known->second);
      model.erase(known);
    } else if (known != model.end() && !unused.empty()) {
      const std::uint32_t to = unused.back();
      nodes[to] = nodes[known->second];
      index.renumber(hash, known->second, to);
      unused.back() = known->second;
      known->second = to;
    } else if (known == model.end() && !unused.empty()) {
      if (index.full()) {
        if (index.slots() == 1024) continue;
        KeyIndex larger((in_first ? second : first).bytes, index.slots() * 2);
        larger.take_from(index, nodes.data());
        index = larger;
        in_first = !in_first;
      }
      model[key] = unused.back();
      nodes[unused.back()].key = key_of(key);
      index.insert(hash, unused.back());
      unused.pop_back();
    }
    if (index.count() != model.size()) ++wrong;
  }
  CHECK(wrong == 0);
  CHECK(index.slots() >= 512);
}
