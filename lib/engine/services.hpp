// Services: what all models of an engine share.
#pragma once

#include <memory>

#include "metrics/registry.hpp"
#include "tidegate/callback.hpp"
#include "tidegate/time.hpp"

namespace tidegate {

class TieredCache;

/// Kept alive by the engine and by every batch that still runs, so that a runner
/// which outlives the engine finds nothing freed under it.
struct Services {
  std::shared_ptr<Clock> clock;
  std::shared_ptr<Executor> completions;
  std::shared_ptr<TieredCache> cache;
  Registry metrics;
};

}  // namespace tidegate
