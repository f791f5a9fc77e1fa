// OrderTree: items in order, linked through themselves, so that entering and leaving
// allocate nothing.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tidegate {

/// The links of one item in an OrderTree.
template <class T>
struct TreeHook {
  T* parent = nullptr;
  T* left = nullptr;
  T* right = nullptr;
  std::uint32_t rank = 0;  ///< no smaller than the children's
};

/// A treap: a search tree by `Order::before` that random ranks keep shallow. Insertion
/// behind the last item and removal of the first take O(1) amortized, everything else
/// O(log n) expected. `Order` has `hook(T&)` and `before(const T&, const T&)`, a strict
/// total order; what decides it must not change while the item is inside.
template <class T, class Order>
class OrderTree {
 public:
  void insert(T& item) noexcept {
    Order::hook(item) = {nullptr, nullptr, nullptr, next_rank()};
    if (root_ == nullptr) {
      root_ = first_ = last_ = &item;
    } else if (Order::before(*last_, item)) {
      attach(*last_, Order::hook(*last_).right, item);
      last_ = &item;
    } else {
      descend(item);
      if (Order::before(item, *first_)) first_ = &item;
    }
    ++size_;
    while (T* parent = up(item)) {
      if (Order::hook(*parent).rank >= Order::hook(item).rank) break;
      rotate_up(item);
    }
  }

  void erase(T& item) noexcept {
    if (first_ == &item) first_ = next(item);
    if (last_ == &item) last_ = previous(item);
    TreeHook<T>& hook = Order::hook(item);
    while (hook.left != nullptr && hook.right != nullptr) {
      const bool left_up = Order::hook(*hook.left).rank > Order::hook(*hook.right).rank;
      rotate_up(left_up ? *hook.left : *hook.right);
    }
    T* const child = hook.left != nullptr ? hook.left : hook.right;
    replace(item, child);
    hook = {};
    --size_;
  }

  [[nodiscard]] T* first() const noexcept { return first_; }
  [[nodiscard]] T* last() const noexcept { return last_; }
  [[nodiscard]] bool empty() const noexcept { return root_ == nullptr; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  /// nullptr behind the last.
  [[nodiscard]] static T* next(T& item) noexcept {
    if (T* node = Order::hook(item).right) {
      while (Order::hook(*node).left != nullptr) node = Order::hook(*node).left;
      return node;
    }
    T* node = &item;
    T* parent = up(*node);
    while (parent != nullptr && Order::hook(*parent).right == node) {
      node = parent;
      parent = up(*node);
    }
    return parent;
  }

  /// nullptr before the first.
  [[nodiscard]] static T* previous(T& item) noexcept {
    if (T* node = Order::hook(item).left) {
      while (Order::hook(*node).right != nullptr) node = Order::hook(*node).right;
      return node;
    }
    T* node = &item;
    T* parent = up(*node);
    while (parent != nullptr && Order::hook(*parent).left == node) {
      node = parent;
      parent = up(*node);
    }
    return parent;
  }

 private:
  [[nodiscard]] static T* up(T& item) noexcept { return Order::hook(item).parent; }

  std::uint32_t next_rank() noexcept {
    // xorshift32 (Marsaglia 2003): a fixed seed, so that equal histories give equal trees.
    random_ ^= random_ << 13;
    random_ ^= random_ >> 17;
    random_ ^= random_ << 5;
    return random_;
  }

  static void attach(T& parent, T*& place, T& item) noexcept {
    place = &item;
    Order::hook(item).parent = &parent;
  }

  void descend(T& item) noexcept {
    T* node = root_;
    for (;;) {
      T*& child = Order::before(item, *node) ? Order::hook(*node).left : Order::hook(*node).right;
      if (child == nullptr) return attach(*node, child, item);
      node = child;
    }
  }

  /// Puts `with`, which may be null, where `item` hangs.
  void replace(T& item, T* with) noexcept {
    T* const parent = up(item);
    if (with != nullptr) Order::hook(*with).parent = parent;
    if (parent == nullptr) {
      root_ = with;
    } else {
      (Order::hook(*parent).left == &item ? Order::hook(*parent).left : Order::hook(*parent).right) = with;
    }
  }

  /// Exchanges the item with its parent.
  void rotate_up(T& item) noexcept {
    T& parent = *up(item);
    replace(parent, &item);
    TreeHook<T>& low = Order::hook(parent);
    TreeHook<T>& high = Order::hook(item);
    const bool was_left = low.left == &item;
    T*& freed = was_left ? low.left : low.right;
    T*& inner = was_left ? high.right : high.left;
    freed = inner;
    if (inner != nullptr) Order::hook(*inner).parent = &parent;
    inner = &parent;
    low.parent = &item;
  }

  T* root_ = nullptr;
  T* first_ = nullptr;
  T* last_ = nullptr;
  std::size_t size_ = 0;
  std::uint32_t random_ = 0x9E3779B9U;
};

}  // namespace tidegate
