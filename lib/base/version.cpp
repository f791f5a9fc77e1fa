#include "tidegate/version.hpp"

#include "build_facts.hpp"

namespace tidegate {

const char* version_string() noexcept { return TIDEGATE_VERSION_STRING; }
const char* build_id() noexcept { return TIDEGATE_BUILD_ID; }

}  // namespace tidegate
