// tidegate_config: settings on their way to a runtime.
#pragma once

#include "handle.hpp"
#include "tidegate/config.h"
#include "tidegate/config.hpp"

struct tidegate_config : tidegate::capi::Handle<0x54476366> {
  tidegate::EngineConfig values{};
};
