#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "base/module_loader.hpp"
#include "support/temporary_folder.hpp"
#include "torch/torch_support.hpp"

using namespace tidegate;
using test::load_made;

namespace {

Error refusal(const TorchScriptOptions& options) {
  const auto runner = load_torchscript(options);
  REQUIRE_FALSE(runner);
  return runner.error();
}

bool mentions(const Error& error, std::string_view part) {
  return error.message().find(part) != std::string_view::npos;
}

}  // namespace

TEST_CASE("torch module: it exports its one symbol and nothing of libtorch") {
  const test::TemporaryFolder folder;
  const std::string command =
      "nm -D --defined-only '" TIDEGATE_TEST_BINARY_DIR "/libtidegate_torch.so' > '" + folder.file("symbols") + "'";
  REQUIRE(std::system(command.c_str()) == 0);
  std::istringstream lines(folder.read("symbols"));
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    CAPTURE(line);
    CHECK(line.ends_with(" tidegate_module"));
  }
  CHECK(count == 1);
}

TEST_CASE("torch module: its facts name the libraries that run") {
  const auto module = load_module("torch", {});
  REQUIRE(module);
  const auto facts = module->table->facts();
  REQUIRE(facts.size() == 3);
  CHECK(facts[0].first == "libtorch");
  CHECK(facts[1].first == "onednn");
  CHECK(facts[2].first == "kernels");
  for (const auto& [name, value] : facts) {
    CAPTURE(name);
    CHECK_FALSE(value.empty());
  }
}

TEST_CASE("torch load: a module with its digest is loaded and described") {
  const auto runner = load_made("affine");
  REQUIRE(runner);
  CHECK((*runner)->info().kind == "torchscript");
  CHECK_FALSE((*runner)->info().deterministic);
  CHECK((*runner)->info().notes.size() == 2);
  const auto other = load_made("doubled");
  REQUIRE(other);
  CHECK((*runner)->info().fingerprint != (*other)->info().fingerprint);
  CHECK((*runner)->info().fingerprint == (*load_made("affine"))->info().fingerprint);
}

TEST_CASE("torch load: the digest is required, and capital letters will do") {
  const std::string file = test::made_by("make_models.py") + "/affine.pt";
  std::string digest = test::sha256_of_file(file);
  const Error missing = refusal({.file = file});
  CHECK(missing.code() == ErrorCode::invalid_argument);
  CHECK(mentions(missing, "sha256"));
  CHECK(refusal({.file = file, .sha256 = digest.substr(1)}).code() == ErrorCode::invalid_argument);
  CHECK(refusal({.file = file, .sha256 = std::string(64, 'g')}).code() == ErrorCode::invalid_argument);
  for (char& c : digest) c = c >= 'a' ? static_cast<char>(c - 'a' + 'A') : c;
  CHECK(load_torchscript({.file = file, .sha256 = digest}));
}

TEST_CASE("torch load: a file with another digest is not loaded, whole or damaged") {
  const test::TemporaryFolder folder;
  const std::string file = test::made_by("make_models.py") + "/affine.pt";
  const std::string digest = test::sha256_of_file(file);
  std::ifstream in(file, std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(in), {}};
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  folder.write("changed.pt", bytes);
  const Error changed = refusal({.file = folder.file("changed.pt"), .sha256 = digest});
  CHECK(changed.code() == ErrorCode::corrupt_data);
  CHECK(mentions(changed, digest));
  CHECK(mentions(changed, test::sha256_of_file(folder.file("changed.pt"))));
  CHECK(mentions(changed, "changed.pt"));
}

TEST_CASE("torch load: files that are no archives are corrupt, whatever their digest says") {
  const test::TemporaryFolder folder;
  const std::string file = test::made_by("make_models.py") + "/affine.pt";
  std::ifstream in(file, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(in), {}};
  folder.write("empty.pt", "");
  folder.write("text.pt", "not a zip archive at all");
  folder.write("cut.pt", bytes.substr(0, bytes.size() / 2));
  folder.write("zeros.pt", std::string(4096, '\0'));
  for (const char* name : {"empty.pt", "text.pt", "cut.pt", "zeros.pt"}) {
    CAPTURE(name);
    const Error error = refusal({.file = folder.file(name), .sha256 = test::sha256_of_file(folder.file(name))});
    CHECK(error.code() == ErrorCode::corrupt_data);
    CHECK(mentions(error, name));
    CHECK(error.message().find('\n') == std::string_view::npos);
  }
}

TEST_CASE("torch load: a missing file and options out of range are named") {
  const std::string digest(64, 'a');
  const Error missing = refusal({.file = "/nonexistent/model.pt", .sha256 = digest});
  CHECK(missing.code() == ErrorCode::not_found);
  CHECK(mentions(missing, "/nonexistent/model.pt"));
  CHECK(refusal({.file = "", .sha256 = digest}).code() == ErrorCode::invalid_argument);
  CHECK(refusal({.file = TIDEGATE_TEST_BINARY_DIR, .sha256 = digest}).code() == ErrorCode::io_error);
  for (const std::uint32_t threads : {0U, 257U}) {
    const Error error = refusal({.file = "x.pt", .sha256 = digest, .threads = threads});
    CHECK(error.code() == ErrorCode::invalid_argument);
    CHECK(mentions(error, "threads"));
    CHECK(mentions(error, "between 1 and 256"));
  }
}

TEST_CASE("torch load: a script whose forward cannot be fed with tensors is unsupported") {
  for (const char* name : {"needsnumber", "notensors", "noforward"}) {
    CAPTURE(name);
    const auto runner = load_made(name);
    REQUIRE_FALSE(runner);
    CHECK(runner.error().code() == ErrorCode::unsupported);
    CHECK(mentions(runner.error(), "forward"));
  }
}
