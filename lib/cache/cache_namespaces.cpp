#include "cache/cache_namespaces.hpp"

#include <algorithm>

namespace tidegate {

std::shared_ptr<CacheNamespace> CacheNamespaces::open(const std::string& model) {
  const MutexLock lock(mutex_);
  if (const auto known = by_model_.find(model); known != by_model_.end()) return known->second;
  auto made = std::make_shared<CacheNamespace>(model, around_);
  for (const CacheEntry& table : restored_) made->take(table);
  return by_model_.emplace(model, std::move(made)).first->second;
}

std::size_t CacheNamespaces::size() const noexcept {
  const MutexLock lock(mutex_);
  return by_model_.size();
}

std::vector<CacheEntry> CacheNamespaces::tables() const {
  const MutexLock lock(mutex_);
  std::vector<CacheEntry> tables;
  for (const auto& [model, one] : by_model_) {
    if (auto table = one->entry()) tables.push_back(*std::move(table));
  }
  for (const CacheEntry& table : restored_) {
    const bool taken = std::any_of(by_model_.begin(), by_model_.end(),
                                   [&](const auto& one) { return one.second->key() == table.key; });
    if (!taken) tables.push_back(table);
  }
  return tables;
}

void CacheNamespaces::restore(std::vector<CacheEntry> tables) {
  const MutexLock lock(mutex_);
  restored_ = std::move(tables);
  for (const auto& [model, one] : by_model_) {
    for (const CacheEntry& table : restored_) one->take(table);
  }
}

}  // namespace tidegate
