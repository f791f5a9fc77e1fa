// Umbrella for examples and readers; servers may include only what they use.
#pragma once

#include "tidegate/disk_cache.hpp"  // IWYU pragma: export
#include "tidegate/engine.hpp"      // IWYU pragma: export
#include "tidegate/modules.hpp"     // IWYU pragma: export
#include "tidegate/version.hpp"     // IWYU pragma: export
