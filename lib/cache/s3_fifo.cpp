#include "cache/s3_fifo.hpp"

namespace tidegate {

S3Fifo::Queue S3Fifo::admit(std::uint32_t fingerprint) noexcept {
  return ghosts_.take(fingerprint) ? Queue::main : Queue::small;
}

void S3Fifo::push(Node& node, Queue queue) noexcept {
  List& list = this->list(queue);
  node.queue = queue;
  node.newer = nullptr;
  node.older = list.newest;
  (list.newest != nullptr ? list.newest->newer : list.oldest) = &node;
  list.newest = &node;
  list.bytes += node.bytes;
}

void S3Fifo::remove(Node& node) noexcept {
  List& list = this->list(node.queue);
  (node.newer != nullptr ? node.newer->older : list.newest) = node.older;
  (node.older != nullptr ? node.older->newer : list.oldest) = node.newer;
  list.bytes -= node.bytes;
  node.newer = node.older = nullptr;
}

S3Fifo::Node* S3Fifo::evict(std::uint64_t budget) {
  const std::uint64_t main_share = budget - budget / 10;
  if (main_.bytes <= main_share && small_.oldest != nullptr) {
    // Ghosts stand for as many bytes as main may hold.
    if (Node* victim = evict_small(main_share)) return victim;
  }
  return evict_main();
}

S3Fifo::Node* S3Fifo::evict_small(std::uint64_t ghost_bytes) {
  while (Node* oldest = small_.oldest) {
    remove(*oldest);
    if (oldest->frequency < kPromoteAt) {
      ghosts_.insert(oldest->fingerprint, oldest->bytes, ghost_bytes);
      return oldest;
    }
    oldest->frequency = 0;
    push(*oldest, Queue::main);
  }
  return nullptr;
}

S3Fifo::Node* S3Fifo::evict_main() noexcept {
  // Ends: each turn takes one from a counter, and all counters are finite.
  while (Node* oldest = main_.oldest) {
    remove(*oldest);
    if (oldest->frequency == 0) return oldest;
    --oldest->frequency;
    push(*oldest, Queue::main);
  }
  return nullptr;
}

}  // namespace tidegate
