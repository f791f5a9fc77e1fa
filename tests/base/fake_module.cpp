// Modules for the loader's tests; FAKE_* says what is wrong with this one.
#include "base/module_abi.hpp"
#include "build_facts.hpp"

#define FAKE_EXPORT extern "C" __attribute__((visibility("default")))

#if defined(FAKE_NO_SYMBOL)

FAKE_EXPORT int something_else() { return 0; }

#elif defined(FAKE_NO_TABLE)

FAKE_EXPORT const tidegate::ModuleHeader* tidegate_module() { return nullptr; }

#elif defined(FAKE_OTHER_BUILD)

// Only the build id is there: whoever reads on follows a wild pointer.
namespace {
struct OldTable {
  const char* build_id;
  const char* wild[8];
};
}  // namespace

FAKE_EXPORT const void* tidegate_module() {
  static const char* const wild = reinterpret_cast<const char*>(8);
  static const OldTable table = {"0.0.9-fedcba9876543210", {wild, wild, wild, wild, wild, wild, wild, wild}};
  return &table;
}

#else

#if defined(FAKE_CALLS_ABSENT)
extern "C" int tidegate_test_absent();
static const int answer = tidegate_test_absent();
FAKE_EXPORT int fake_answer() { return answer; }
#endif

static std::vector<std::pair<std::string, std::string> > fake_facts() { return {{"fake", "yes"}}; }

FAKE_EXPORT const tidegate::ModuleHeader* tidegate_module() {
  static const tidegate::ModuleHeader table = {TIDEGATE_BUILD_ID, FAKE_NAME, fake_facts};
  return &table;
}

#endif
