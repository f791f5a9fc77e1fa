// CacheNamespaces: those of all models an engine has served, by name.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cache/cache_namespace.hpp"

namespace tidegate {

/// All versions of a model share one, and it stays when they are gone: a version may come back.
/// Thread-safe.
class CacheNamespaces {
 public:
  explicit CacheNamespaces(CacheNamespace::Surroundings surroundings) : around_(std::move(surroundings)) {}

  /// May throw std::bad_alloc.
  [[nodiscard]] std::shared_ptr<CacheNamespace> open(const std::string& model);
  [[nodiscard]] std::size_t size() const noexcept;

  /// The tables of all of them, and those restored for models that have not come yet.
  [[nodiscard]] std::vector<CacheEntry> tables() const;
  /// Gives tables to their models, when they come.
  void restore(std::vector<CacheEntry> tables);

 private:
  const CacheNamespace::Surroundings around_;
  mutable Mutex mutex_;  // before the namespaces'
  std::map<std::string, std::shared_ptr<CacheNamespace>, std::less<>> by_model_ TIDEGATE_GUARDED_BY(mutex_);
  std::vector<CacheEntry> restored_ TIDEGATE_GUARDED_BY(mutex_);
};

}  // namespace tidegate
