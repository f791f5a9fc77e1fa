// The setup most scheduler tests start from: default options, some slots.
#pragma once

#include "queue/scheduler_driver.hpp"

namespace tidegate::test {

inline Setup with_slots(std::uint32_t slots) {
  Setup setup;
  setup.slots = slots;
  return setup;
}

}  // namespace tidegate::test
