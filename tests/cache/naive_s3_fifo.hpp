// S3-FIFO as its paper tells it, with plain lists and searches: the reference.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <list>
#include <optional>

namespace tidegate::test {

/// Weighs entries by bytes. `budget` is what all entries together may weigh; small has
/// a tenth of it, main and ghosts the rest; the ghost list has `ghost_places` places,
/// and a ghost that came back keeps its place until it is the oldest.
class NaiveS3Fifo {
 public:
  explicit NaiveS3Fifo(std::size_t ghost_places) : ghost_places_(ghost_places) {}

  struct Item {
    std::uint64_t key;
    std::uint64_t bytes;
    int hits = 0;
  };

  [[nodiscard]] std::uint64_t bytes() const { return sum(small_) + sum(main_); }
  [[nodiscard]] std::size_t count() const { return small_.size() + main_.size(); }

  bool get(std::uint64_t key) {
    for (std::list<Item>* queue : {&small_, &main_}) {
      const auto it = find(*queue, key);
      if (it == queue->end()) continue;
      it->hits = std::min(it->hits + 1, 3);
      return true;
    }
    return false;
  }

  /// Takes the key out; where it was and its hits, for one that is put back at once.
  struct Place {
    bool in_main;
    int hits;
  };
  std::optional<Place> take(std::uint64_t key) {
    for (std::list<Item>* queue : {&small_, &main_}) {
      const auto it = find(*queue, key);
      if (it == queue->end()) continue;
      const Place place{queue == &main_, it->hits};
      queue->erase(it);
      return place;
    }
    return std::nullopt;
  }

  /// Whether a new key starts in main; its ghost is spent.
  bool admit_to_main(std::uint64_t key) {
    for (Ghost& ghost : ghosts_) {
      if (ghost.key != key || ghost.spent) continue;
      ghost.spent = true;
      return true;
    }
    return false;
  }

  void push(std::uint64_t key, std::uint64_t bytes, Place place) {
    (place.in_main ? main_ : small_).push_front({key, bytes, place.hits});
  }

  std::optional<std::uint64_t> evict(std::uint64_t budget) {
    const std::uint64_t main_share = budget - budget / 10;
    if (sum(main_) <= main_share) {
      while (!small_.empty()) {
        const Item item = small_.back();
        small_.pop_back();
        if (item.hits < 2) {
          remember(item, main_share);
          return item.key;
        }
        main_.push_front({item.key, item.bytes, 0});
      }
    }
    while (!main_.empty()) {
      const Item item = main_.back();
      main_.pop_back();
      if (item.hits == 0) return item.key;
      main_.push_front({item.key, item.bytes, item.hits - 1});
    }
    return std::nullopt;
  }

 private:
  struct Ghost {
    std::uint64_t key;
    std::uint64_t bytes;
    bool spent = false;
  };

  static std::uint64_t sum(const std::list<Item>& queue) {
    std::uint64_t total = 0;
    for (const Item& item : queue) total += item.bytes;
    return total;
  }
  static std::list<Item>::iterator find(std::list<Item>& queue, std::uint64_t key) {
    return std::find_if(queue.begin(), queue.end(), [key](const Item& item) { return item.key == key; });
  }

  void remember(const Item& item, std::uint64_t limit) {
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
  std::list<Item> small_;  // newest first
  std::list<Item> main_;
  std::deque<Ghost> ghosts_;  // oldest first
};

}  // namespace tidegate::test
