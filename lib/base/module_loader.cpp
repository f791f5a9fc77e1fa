#include "base/module_loader.hpp"

#include <dlfcn.h>
#include <fmt/format.h>
#include <link.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <vector>

#include "base/mutex.hpp"
#include "base/try.hpp"
#include "build_facts.hpp"
#include "tidegate/version.hpp"

namespace tidegate {
namespace {

namespace fs = std::filesystem;

/// Held from dlopen until the table has been read. The loader orders these steps
/// between threads by a lock of its own, which neither its readers of link_map (we) nor
/// race detectors can see. Of the process, not of an object, because so is the loader's
/// state. A module's static constructors run under it: they must not load modules.
constinit Mutex loader_mutex;

struct Remedy {
  std::string_view module;
  std::string_view build_option;
  std::string_view dependency;
};

constexpr std::array<Remedy, 3> kRemedies{{
    {"encoder", "TIDEGATE_WITH_ENCODER", "oneDNN 3.x"},
    {"torch", "TIDEGATE_WITH_TORCH", "libtorch"},
    {"rocksdb", "TIDEGATE_WITH_ROCKSDB", "RocksDB"},
}};

std::string how_to_get(std::string_view name) {
  for (const Remedy& remedy : kRemedies) {
    if (remedy.module != name) continue;
    return fmt::format("build with -D{}=ON, or install the 'plugins' component", remedy.build_option);
  }
  return "build it, or install the 'plugins' component";
}

std::string how_to_get_dependencies(std::string_view name) {
  for (const Remedy& remedy : kRemedies) {
    if (remedy.module != name) continue;
    return fmt::format("install {} (scripts/install_deps.sh) or put its folder on the loader's path (LD_LIBRARY_PATH)",
                       remedy.dependency);
  }
  return "install what it needs or put it on the loader's path (LD_LIBRARY_PATH)";
}

/// The file that holds this code: the shared library, or the program it was linked into.
fs::path own_file() {
  Dl_info info{};
  void* extra = nullptr;
  if (::dladdr1(reinterpret_cast<const void*>(&load_module), &info, &extra, RTLD_DL_LINKMAP) == 0) return {};
  const auto* map = static_cast<const link_map*>(extra);
  std::error_code trouble;
  // A program has no name in its own link map, and argv[0] need not be a path.
  if (map == nullptr || map->l_name == nullptr || map->l_name[0] == '\0') {
    return fs::read_symlink("/proc/self/exe", trouble);
  }
  return fs::canonical(map->l_name, trouble);
}

std::vector<fs::path> candidate_folders() {
  const fs::path own = own_file();
  if (own.empty()) return {};
  const fs::path folder = own.parent_path();
  return {folder, (folder / TIDEGATE_MODULE_SUBDIR).lexically_normal(),
          (folder / TIDEGATE_MODULE_DIR_FROM_BIN).lexically_normal()};
}

Error corrupt(std::string_view path, std::string_view why) {
  return Error(ErrorCode::corrupt_data, fmt::format("'{}' is not a Tidegate module: {}", path, why));
}

Result<void> check_is_elf(const std::string& path) {
  std::array<char, 4> magic{};
  std::ifstream file(path, std::ios::binary);
  if (!file) return Error(ErrorCode::io_error, fmt::format("cannot read the module '{}'", path));
  file.read(magic.data(), magic.size());
  if (std::string_view(magic.data(), magic.size()) !=
      "\x7f"
      "ELF")
    return corrupt(path, "it is no ELF file");
  return {};
}

bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

/// Sorts a refusal of the loader, which gives text only. A text in another language
/// ends as not_found, with the loader's words in it.
Error open_error(std::string_view name, const std::string& path, std::string_view reason) {
  if (contains(reason, "undefined symbol") || contains(reason, "(required by")) {
    return Error(ErrorCode::version_mismatch, fmt::format("module '{}' does not fit the libraries found for it: {}; {}",
                                                          path, reason, how_to_get_dependencies(name)));
  }
  if (contains(reason, "ELF") || contains(reason, "file too short") || contains(reason, "cannot read file data")) {
    return corrupt(path, reason);
  }
  return Error(ErrorCode::not_found,
               fmt::format("module '{}' cannot be opened: {}; {}", path, reason, how_to_get_dependencies(name)));
}

std::string loader_reason() {
  const char* reason = ::dlerror();
  return reason == nullptr ? "the loader gave no reason" : reason;
}

std::string path_of(void* handle, const std::string& fallback) TIDEGATE_REQUIRES(loader_mutex) {
  link_map* map = nullptr;
  if (::dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0 || map == nullptr || map->l_name == nullptr) return fallback;
  return map->l_name[0] == '\0' ? fallback : map->l_name;
}

Result<LoadedModule> check_table(void* handle, std::string_view name, std::string path)
    TIDEGATE_REQUIRES(loader_mutex) {
  auto entry = reinterpret_cast<ModuleEntry>(::dlsym(handle, kModuleSymbol));
  if (entry == nullptr) return corrupt(path, fmt::format("it exports no '{}'", kModuleSymbol));
  const ModuleHeader* table = entry();
  if (table == nullptr || table->build_id == nullptr) return corrupt(path, "its table is empty");
  if (std::string_view(table->build_id) != build_id()) {
    return Error(ErrorCode::version_mismatch,
                 fmt::format("module '{}' is of build {}, this library is of build {}: install the module that was "
                             "built with it",
                             path, table->build_id, build_id()));
  }
  if (table->name == nullptr || table->name != name) {
    return Error(ErrorCode::invalid_argument, fmt::format("'{}' is the module '{}', not '{}'", path,
                                                          table->name == nullptr ? "" : table->name, name));
  }
  return LoadedModule{table, std::move(path)};
}

Result<LoadedModule> open_file(std::string_view name, const std::string& path) {
  TIDEGATE_CHECK(check_is_elf(path));
  MutexLock lock(loader_mutex);
  void* handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return open_error(name, path, loader_reason());
  return check_table(handle, name, path_of(handle, path));
}

Result<LoadedModule> open_on_loader_path(std::string_view name, const std::string& file,
                                         const std::vector<fs::path>& tried) {
  MutexLock lock(loader_mutex);
  void* handle = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle != nullptr) return check_table(handle, name, path_of(handle, file));
  const std::string reason = loader_reason();
  // The loader names the file that it missed first: ours, or one that ours needs.
  if (!reason.starts_with(file) || contains(reason, "undefined symbol")) return open_error(name, file, reason);
  std::string places;
  for (const fs::path& folder : tried) places += fmt::format("'{}', ", folder.string());
  return Error(ErrorCode::not_found,
               fmt::format("module file {} was not found (looked in {}and on the loader's path): {}", file, places,
                           how_to_get(name)));
}

}  // namespace

Result<LoadedModule> load_module(std::string_view name, const std::string& module_path) {
  std::error_code ignored;
  if (!module_path.empty()) {
    const std::string path = fs::absolute(module_path, ignored).string();
    if (!fs::is_regular_file(path, ignored)) {
      return Error(ErrorCode::not_found, fmt::format("module file '{}' was not found (looked nowhere else, as the path "
                                                     "was given): {}",
                                                     path, how_to_get(name)));
    }
    return open_file(name, path);
  }
  const std::string file = fmt::format("libtidegate_{}.so", name);
  const std::vector<fs::path> folders = candidate_folders();
  for (const fs::path& folder : folders) {
    const fs::path path = folder / file;
    if (fs::is_regular_file(path, ignored)) return open_file(name, path.string());
  }
  return open_on_loader_path(name, file, folders);
}

}  // namespace tidegate
