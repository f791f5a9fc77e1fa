// In a program of its own: a library that some other test has loaded is not missing.
#include <doctest/doctest.h>

#include <string>

#include "base/module_loader.hpp"
#include "support/temporary_folder.hpp"

using namespace tidegate;

namespace {

/// A copy of the module that looks for its libraries in a folder that does not exist.
bool copy_without_path(const test::TemporaryFolder& folder, const std::string& name,
                       const std::string& library_folder) {
  std::ifstream in(TIDEGATE_TEST_BINARY_DIR "/" + name, std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(in), {}};
  bool found = false;
  for (std::size_t at = bytes.find(library_folder); at != std::string::npos; at = bytes.find(library_folder, at)) {
    bytes.replace(at, library_folder.size(), std::string(library_folder.size(), 'x'));
    found = true;
  }
  folder.write(name, bytes);
  return found;
}

void check_missing(const std::string& module_name, const std::string& library_folder, std::string_view library) {
  const test::TemporaryFolder folder;
  const std::string file = "libtidegate_" + module_name + ".so";
  if (!copy_without_path(folder, file, library_folder)) {
    MESSAGE("the loader finds this library without the module's help: nothing to take away");
    return;
  }
  const auto module = load_module(module_name, folder.file(file));
  REQUIRE_FALSE(module);
  const std::string text(module.error().message());
  CAPTURE(text);
  CHECK(module.error().code() == ErrorCode::not_found);
  CHECK(text.find(folder.file(file)) != std::string::npos);
  CHECK(text.find(library) != std::string::npos);
  CHECK(text.find("install_deps.sh") != std::string::npos);
}

}  // namespace

TEST_CASE("missing libraries: without libtorch the torch module says so, and the process lives on") {
  check_missing("torch", TORCH_FOLDER, "libtorch");
}

#if defined(DNNL_FOLDER)
TEST_CASE("missing libraries: without oneDNN the encoder module says so, and the process lives on") {
  check_missing("encoder", DNNL_FOLDER, "libdnnl");
}
#endif
