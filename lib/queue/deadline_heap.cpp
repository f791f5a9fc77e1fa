#include "queue/deadline_heap.hpp"

#include <algorithm>

namespace tidegate {
namespace {

struct Later {
  template <class Entry>
  bool operator()(const Entry& a, const Entry& b) const noexcept {
    return a.when > b.when;
  }
};

}  // namespace

void DeadlineHeap::push(const Waiter& waiter) {
  heap_.push_back({waiter.deadline, Slab<Waiter>::id_of(waiter)});
  std::push_heap(heap_.begin(), heap_.end(), Later{});
}

void DeadlineHeap::forget_one() {
  ++dead_;
  while (!heap_.empty() && is_dead(heap_.front())) {
    std::pop_heap(heap_.begin(), heap_.end(), Later{});
    heap_.pop_back();
    --dead_;
  }
  if (heap_.size() <= kSlack || dead_ <= heap_.size() / 2) return;
  std::erase_if(heap_, [this](const Entry& entry) { return is_dead(entry); });
  std::make_heap(heap_.begin(), heap_.end(), Later{});
  dead_ = 0;
}

}  // namespace tidegate
