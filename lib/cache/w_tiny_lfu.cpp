#include "cache/w_tiny_lfu.hpp"

#include "cache/heap_charge.hpp"

namespace tidegate {

WTinyLfu::WTinyLfu(std::uint32_t sketch_words)
    : EvictionPolicy(Hits::order, heap_charge(sizeof(WTinyLfu)) + FrequencySketch::heap_bytes(sketch_words), 0),
      sketch_(sketch_words) {}

void WTinyLfu::push(Node& node, Part part) noexcept {
  node.part = part;
  lists_[part].push(node);
}

void WTinyLfu::shrink(Part from, std::uint64_t share) noexcept {
  while (lists_[from].bytes() > share) push(*lists_[from].pop_oldest(), probation);
}

void WTinyLfu::hit(Node& node) noexcept {
  sketch_.add(node.fingerprint());
  const Part to = node.part == window ? window : protected_part;
  list(node).remove(node);
  push(node, to);
  shrink(protected_part, protected_share());
}

void WTinyLfu::admit(Node& newcomer) noexcept {
  sketch_.add(newcomer.fingerprint());
  newcomer.part = window;
}

void WTinyLfu::add(Node& node) {
  list(node).push(node);
  shrink(window, window_share());
  shrink(protected_part, protected_share());
}

void WTinyLfu::remove(Node& node) noexcept { list(node).remove(node); }

void WTinyLfu::moved(Node& from, Node& to) { list(from).replace(from, to); }

EvictionPolicy::Node* WTinyLfu::evict(const Node& incoming) {
  Node* const rival = lists_[window].oldest();
  Node* victim = lists_[probation].oldest();
  if (victim == nullptr) victim = lists_[protected_part].oldest();
  if (victim == nullptr) {
    victim = rival;
  } else if (incoming.part == window && lists_[window].bytes() + incoming.bytes > window_share()) {
    const Node& candidate = rival != nullptr ? *rival : incoming;
    if (sketch_.estimate(candidate.fingerprint()) <= sketch_.estimate(victim->fingerprint())) victim = rival;
  }
  if (victim != nullptr) remove(*victim);
  return victim;
}

}  // namespace tidegate
