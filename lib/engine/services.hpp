// Services: what all models of an engine share.
#pragma once

#include <memory>

#include "engine/visits.hpp"
#include "metrics/registry.hpp"
#include "tidegate/callback.hpp"
#include "tidegate/time.hpp"

namespace tidegate {

class CacheNamespaces;
class SharedRoom;
class SnapshotKeeper;
class TieredCache;

/// Kept alive by the engine and by every batch that still runs, so that a runner
/// which outlives the engine finds nothing freed under it.
struct Services {
  std::shared_ptr<Clock> clock;
  std::shared_ptr<Executor> completions;
  std::shared_ptr<TieredCache> cache;
  std::shared_ptr<CacheNamespaces> namespaces;
  std::shared_ptr<SnapshotKeeper> snapshot;
  std::shared_ptr<SharedRoom> room{};  ///< what the queues of all models share; null where they have no caps in common
  Registry metrics;
  /// Shared with alarms and look-ups, which may outlive the services.
  std::shared_ptr<Visits> visits = std::make_shared<Visits>();
};

}  // namespace tidegate
