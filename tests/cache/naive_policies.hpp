// The eviction policies as their papers tell them, with plain lists and searches: the
// references.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <optional>
#include <vector>

#include "cache/eviction_policy.hpp"
#include "cache/frequency_sketch.hpp"
#include "cache_fixtures.hpp"

namespace tidegate::test {

struct NaiveItem {
  std::uint64_t key = 0;
  std::uint64_t bytes = 0;
  TimePoint expires_at{};
  int hits = 0;
  std::size_t part = 0;
};

/// Entries in one or more lists, newest first. `budget` is what all may weigh.
class NaivePolicy {
 public:
  virtual ~NaivePolicy() = default;

  bool get(std::uint64_t key, std::uint64_t budget) {
    for (std::size_t part = 0; part < parts_.size(); ++part) {
      const auto it = find(parts_[part], key);
      if (it == parts_[part].end()) continue;
      hit(part, it, budget);
      return true;
    }
    return false;
  }

  std::optional<NaiveItem> take(std::uint64_t key) {
    for (auto& list : parts_) {
      const auto it = find(list, key);
      if (it == list.end()) continue;
      const NaiveItem item = *it;
      list.erase(it);
      return item;
    }
    return std::nullopt;
  }

  /// Decides part and hits of a key that is new.
  virtual void admit(NaiveItem& item) = 0;
  virtual void push(const NaiveItem& item, std::uint64_t /*budget*/) { parts_[item.part].push_front(item); }
  virtual std::optional<std::uint64_t> evict(const NaiveItem& incoming, std::uint64_t budget) = 0;

  [[nodiscard]] std::uint64_t bytes() const {
    std::uint64_t total = 0;
    for (const auto& list : parts_) total += sum(list);
    return total;
  }
  [[nodiscard]] std::size_t count() const {
    std::size_t total = 0;
    for (const auto& list : parts_) total += list.size();
    return total;
  }

 protected:
  using List = std::list<NaiveItem>;

  explicit NaivePolicy(std::size_t parts) : parts_(parts) {}
  virtual void hit(std::size_t part, List::iterator item, std::uint64_t budget) = 0;

  static std::uint64_t sum(const List& list) {
    std::uint64_t total = 0;
    for (const NaiveItem& item : list) total += item.bytes;
    return total;
  }
  static List::iterator find(List& list, std::uint64_t key) {
    return std::find_if(list.begin(), list.end(), [key](const NaiveItem& item) { return item.key == key; });
  }
  static std::uint64_t pop(List& list, List::iterator item) {
    const std::uint64_t key = item->key;
    list.erase(item);
    return key;
  }
  void move_to_front(std::size_t from, List::iterator item, std::size_t to) {
    item->part = to;
    parts_[to].splice(parts_[to].begin(), parts_[from], item);
  }

  std::vector<List> parts_;
};

/// Small has a tenth of the budget, main and ghosts the rest; the ghost list has
/// `ghost_places` places, and a ghost that came back keeps its place until it is the oldest.
class NaiveS3Fifo final : public NaivePolicy {
 public:
  explicit NaiveS3Fifo(std::size_t ghost_places) : NaivePolicy(2), ghost_places_(ghost_places) {}

  void admit(NaiveItem& item) override {
    for (Ghost& ghost : ghosts_) {
      if (ghost.key != item.key || ghost.spent) continue;
      ghost.spent = true;
      item.part = 1;
      return;
    }
  }

  std::optional<std::uint64_t> evict(const NaiveItem& /*incoming*/, std::uint64_t budget) override {
    List& small = parts_[0];
    List& main = parts_[1];
    const std::uint64_t main_share = budget - budget / 10;
    if (sum(main) <= main_share) {
      while (!small.empty()) {
        const auto oldest = std::prev(small.end());
        if (oldest->hits < 2) {
          remember(*oldest, main_share);
          return pop(small, oldest);
        }
        oldest->hits = 0;
        move_to_front(0, oldest, 1);
      }
    }
    while (!main.empty()) {
      const auto oldest = std::prev(main.end());
      if (oldest->hits == 0) return pop(main, oldest);
      --oldest->hits;
      move_to_front(1, oldest, 1);
    }
    return std::nullopt;
  }

 private:
  struct Ghost {
    std::uint64_t key;
    std::uint64_t bytes;
    bool spent = false;
  };

  void hit(std::size_t /*part*/, List::iterator item, std::uint64_t /*budget*/) override {
    item->hits = std::min(item->hits + 1, 3);
  }

  void remember(const NaiveItem& item, std::uint64_t limit) {
    for (Ghost& ghost : ghosts_) {
      if (ghost.key == item.key) ghost.spent = true;
    }
    if (item.bytes > limit) return;
    const auto ghost_bytes = [this] {
      std::uint64_t total = 0;
      for (const Ghost& ghost : ghosts_) total += ghost.spent ? 0 : ghost.bytes;
      return total;
    };
    while (!ghosts_.empty() && (ghosts_.size() == ghost_places_ || ghost_bytes() + item.bytes > limit)) {
      ghosts_.pop_front();
    }
    ghosts_.push_back({item.key, item.bytes});
  }

  const std::size_t ghost_places_;
  std::deque<Ghost> ghosts_;  // oldest first
};

class NaiveLru final : public NaivePolicy {
 public:
  NaiveLru() : NaivePolicy(1) {}
  void admit(NaiveItem& /*item*/) override {}
  std::optional<std::uint64_t> evict(const NaiveItem& /*incoming*/, std::uint64_t /*budget*/) override {
    if (parts_[0].empty()) return std::nullopt;
    return pop(parts_[0], std::prev(parts_[0].end()));
  }

 private:
  void hit(std::size_t /*part*/, List::iterator item, std::uint64_t /*budget*/) override { move_to_front(0, item, 0); }
};

/// One list by last use; the fewest uses go, of these the one used longest ago.
class NaiveLfu final : public NaivePolicy {
 public:
  NaiveLfu() : NaivePolicy(1) {}
  void admit(NaiveItem& item) override { item.hits = 1; }
  std::optional<std::uint64_t> evict(const NaiveItem& /*incoming*/, std::uint64_t /*budget*/) override {
    List& list = parts_[0];
    if (list.empty()) return std::nullopt;
    auto least = list.begin();
    for (auto it = list.begin(); it != list.end(); ++it) {
      if (it->hits <= least->hits) least = it;
    }
    return pop(list, least);
  }

 private:
  void hit(std::size_t /*part*/, List::iterator item, std::uint64_t /*budget*/) override {
    item->hits = std::min(item->hits + 1, 63);
    move_to_front(0, item, 0);
  }
};

class NaiveTtlOnly final : public NaivePolicy {
 public:
  NaiveTtlOnly() : NaivePolicy(1) {}
  void admit(NaiveItem& /*item*/) override {}
  std::optional<std::uint64_t> evict(const NaiveItem& /*incoming*/, std::uint64_t /*budget*/) override {
    List& list = parts_[0];
    if (list.empty()) return std::nullopt;
    return pop(list, std::min_element(list.begin(), list.end(), [](const NaiveItem& left, const NaiveItem& right) {
                 return left.expires_at < right.expires_at;
               }));
  }

 private:
  void hit(std::size_t /*part*/, List::iterator /*item*/, std::uint64_t /*budget*/) override {}
};

/// Parts: window, probation, protected. Its popularity estimates are the sketch's,
/// which has a test of its own.
class NaiveWTinyLfu final : public NaivePolicy {
 public:
  explicit NaiveWTinyLfu(std::uint32_t sketch_words) : NaivePolicy(3), sketch_(sketch_words) {}

  void admit(NaiveItem& item) override { sketch_.add(print(item.key)); }

  void push(const NaiveItem& item, std::uint64_t budget) override {
    NaivePolicy::push(item, budget);
    demote(0, budget / 100);
    demote(2, (budget - budget / 100) * 4 / 5);
  }

  std::optional<std::uint64_t> evict(const NaiveItem& incoming, std::uint64_t budget) override {
    List& window = parts_[0];
    List& main = parts_[1].empty() ? parts_[2] : parts_[1];
    if (main.empty() && window.empty()) return std::nullopt;
    if (main.empty()) return pop(window, std::prev(window.end()));
    const auto victim = std::prev(main.end());
    if (incoming.part != 0 || sum(window) + incoming.bytes <= budget / 100) return pop(main, victim);
    const std::uint64_t rival = window.empty() ? incoming.key : window.back().key;
    if (sketch_.estimate(print(rival)) > sketch_.estimate(print(victim->key))) return pop(main, victim);
    if (window.empty()) return std::nullopt;
    return pop(window, std::prev(window.end()));
  }

 private:
  static std::uint32_t print(std::uint64_t key) {
    EvictionPolicy::Node node;
    node.key = key_of(key);
    return node.fingerprint();
  }

  void demote(std::size_t from, std::uint64_t share) {
    while (sum(parts_[from]) > share) move_to_front(from, std::prev(parts_[from].end()), 1);
  }

  void hit(std::size_t part, List::iterator item, std::uint64_t budget) override {
    sketch_.add(print(item->key));
    move_to_front(part, item, part == 0 ? 0 : 2);
    demote(2, (budget - budget / 100) * 4 / 5);
  }

  FrequencySketch sketch_;
};

/// `memory_size`: as make_eviction_policy takes it.
inline std::unique_ptr<NaivePolicy> make_naive_policy(CachePolicy policy, std::uint32_t memory_size) {
  switch (policy) {
    case CachePolicy::lru: return std::make_unique<NaiveLru>();
    case CachePolicy::lfu: return std::make_unique<NaiveLfu>();
    case CachePolicy::w_tiny_lfu: return std::make_unique<NaiveWTinyLfu>(memory_size);
    case CachePolicy::ttl_only: return std::make_unique<NaiveTtlOnly>();
    case CachePolicy::s3_fifo: break;
  }
  return std::make_unique<NaiveS3Fifo>(memory_size);
}

}  // namespace tidegate::test
