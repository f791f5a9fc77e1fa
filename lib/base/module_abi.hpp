// The border between the core and a module (libtidegate_<name>.so): what all have.
//
// A module exports one C symbol, `tidegate_module`, that answers the head of its table;
// each room that has modules appends what it calls (lib/runner/module_abi.hpp,
// lib/cache/disk_module_abi.hpp). C++ types cross the border, which is safe because the
// core refuses a table whose build id is not exactly its own (cmake/Modules.cmake says
// what the id covers). A module imports nothing from the core and is never unloaded.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace tidegate {

/// First base of every room's table.
struct ModuleHeader {
  const char* build_id;  // first, so that it can be read whatever follows
  const char* name;      // "encoder", "torch", "rocksdb"
  /// Versions and choices for `doctor`: {"onednn", "3.2.0"}, {"kernels", "avx2"}, ...
  std::vector<std::pair<std::string, std::string>> (*facts)();
};

using ModuleEntry = const ModuleHeader* (*)();
inline constexpr const char* kModuleSymbol = "tidegate_module";

}  // namespace tidegate
