#include "cache/plain_policies.hpp"

#include <bit>
#include <functional>

#include "cache/heap_charge.hpp"

namespace tidegate {
namespace {

/// A node of std::set: color, three links, and the value.
constexpr std::uint64_t kSetNodeBytes = 5 * sizeof(void*);

}  // namespace

Lru::Lru() : EvictionPolicy(Hits::order, heap_charge(sizeof(Lru)), 0) {}

void Lru::hit(Node& node) noexcept {
  entries_.remove(node);
  entries_.push(node);
}

void Lru::admit(Node& /*newcomer*/) noexcept {}

void Lru::add(Node& node) { entries_.push(node); }

void Lru::remove(Node& node) noexcept { entries_.remove(node); }

void Lru::moved(Node& from, Node& to) { entries_.replace(from, to); }

EvictionPolicy::Node* Lru::evict(const Node& /*incoming*/) { return entries_.pop_oldest(); }

Lfu::Lfu() : EvictionPolicy(Hits::order, heap_charge(sizeof(Lfu)), 0) {}

void Lfu::hit(Node& node) noexcept {
  remove(node);
  if (node.frequency < kMaxFrequency) ++node.frequency;
  Lfu::add(node);
}

void Lfu::admit(Node& newcomer) noexcept { newcomer.frequency = 1; }

void Lfu::add(Node& node) {
  used_[node.frequency].push(node);
  not_empty_ |= 1ULL << node.frequency;
}

void Lfu::remove(Node& node) noexcept {
  used_[node.frequency].remove(node);
  if (used_[node.frequency].empty()) not_empty_ &= ~(1ULL << node.frequency);
}

void Lfu::moved(Node& from, Node& to) { used_[from.frequency].replace(from, to); }

EvictionPolicy::Node* Lfu::evict(const Node& /*incoming*/) {
  if (not_empty_ == 0) return nullptr;
  Node* victim = used_[static_cast<std::size_t>(std::countr_zero(not_empty_))].oldest();
  remove(*victim);
  return victim;
}

TtlOnly::TtlOnly() : EvictionPolicy(Hits::counter, heap_charge(sizeof(TtlOnly)), heap_charge(kSetNodeBytes)) {}

bool TtlOnly::SoonestFirst::operator()(const Node* left, const Node* right) const noexcept {
  if (left->expires_at != right->expires_at) return left->expires_at < right->expires_at;
  if (left->fingerprint() != right->fingerprint()) return left->fingerprint() < right->fingerprint();
  return std::less<>()(left, right);
}

void TtlOnly::hit(Node& /*node*/) noexcept {}

void TtlOnly::admit(Node& /*newcomer*/) noexcept {}

void TtlOnly::add(Node& node) { entries_.insert(&node); }

void TtlOnly::remove(Node& node) noexcept { entries_.erase(&node); }

void TtlOnly::moved(Node& from, Node& to) {
  auto entry = entries_.extract(&from);
  entry.value() = &to;
  entries_.insert(std::move(entry));
}

EvictionPolicy::Node* TtlOnly::evict(const Node& /*incoming*/) {
  if (entries_.empty()) return nullptr;
  Node* victim = *entries_.begin();
  entries_.erase(entries_.begin());
  return victim;
}

}  // namespace tidegate
