// Module loader: finds libtidegate_<name>.so, opens it and checks that it is ours.
#pragma once

#include <string>
#include <string_view>

#include "base/module_abi.hpp"
#include "tidegate/result.hpp"

namespace tidegate {

struct LoadedModule {
  const ModuleHeader* table = nullptr;  ///< lives as long as the process: modules are never unloaded
  std::string path;                     ///< the file that was opened
};

/// Opens a module with RTLD_NOW | RTLD_LOCAL. With a `module_path` only that file is
/// tried; otherwise, in this order: the folder of the file that holds this code, the
/// folders where an installed library and an installed program find modules, the
/// loader's own path. The first file that exists decides. Thread-safe; opening a
/// module again is cheap. Nothing of the table but its build id is read before that
/// id has been found equal to the core's.
/// Errors: not_found (no such file: says where it was looked for; or a library that
/// the module needs is missing: carries the loader's words), version_mismatch
/// (another build id, or other versions of its libraries), corrupt_data (not a
/// module), invalid_argument (a module of another name).
[[nodiscard]] Result<LoadedModule> load_module(std::string_view name, const std::string& module_path);

}  // namespace tidegate
