#include "base/module_loader.hpp"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "support/temporary_folder.hpp"
#include "tidegate/modules.hpp"
#include "tidegate/version.hpp"

using namespace tidegate;

namespace {

std::string fake(const std::string& name) {
  return std::string(TIDEGATE_TEST_MODULES) + "/libtidegate_" + name + ".so";
}

bool mentions(const Error& error, std::string_view part) {
  return error.message().find(part) != std::string_view::npos;
}

}  // namespace

TEST_CASE("module loader: a sound module is opened and its table answered") {
  const auto module = load_module("sound", fake("sound"));
  REQUIRE(module);
  CHECK(module->path == fake("sound"));
  CHECK(std::string_view(module->table->name) == "sound");
  CHECK(module->table->facts().front().second == "yes");
  const auto again = load_module("sound", fake("sound"));
  REQUIRE(again);
  CHECK(again->table == module->table);
}

TEST_CASE("module loader: a relative path is a path, not a name for the loader") {
  const auto relative = std::filesystem::relative(fake("sound")).string();
  CHECK(load_module("sound", relative));
  const auto bare = load_module("sound", "libtidegate_sound.so");
  REQUIRE_FALSE(bare);
  CHECK(bare.error().code() == ErrorCode::not_found);
}

TEST_CASE("module loader: without a path, modules lie beside the program or where an installation puts them") {
  const auto beside = load_module("beside", {});
  REQUIRE(beside);
  CHECK(std::filesystem::equivalent(beside->path, TIDEGATE_TEST_PROGRAM_DIR "/libtidegate_beside.so"));
  const auto installed = load_module("installed", {});
  REQUIRE(installed);
  CHECK(std::filesystem::equivalent(installed->path, TIDEGATE_TEST_PROGRAM_DIR "/tidegate/1/libtidegate_installed.so"));
}

TEST_CASE("module loader: a missing file is named, with the places searched and the remedy") {
  const auto given = load_module("torch", "/nonexistent/libtidegate_torch.so");
  REQUIRE_FALSE(given);
  CHECK(given.error().code() == ErrorCode::not_found);
  CHECK(mentions(given.error(), "'/nonexistent/libtidegate_torch.so'"));
  CHECK(mentions(given.error(), "TIDEGATE_WITH_TORCH=ON"));

  const auto searched = load_module("nowhere", {});
  REQUIRE_FALSE(searched);
  CHECK(searched.error().code() == ErrorCode::not_found);
  CHECK(mentions(searched.error(), "libtidegate_nowhere.so"));
  CHECK(mentions(searched.error(), TIDEGATE_TEST_PROGRAM_DIR));
  CHECK(mentions(searched.error(), "tidegate/1"));
  CHECK(mentions(searched.error(), "loader's path"));
  CHECK(mentions(searched.error(), "plugins"));

  const auto folder = load_module("torch", TIDEGATE_TEST_MODULES);
  REQUIRE_FALSE(folder);
  CHECK(folder.error().code() == ErrorCode::not_found);
}

TEST_CASE("module loader: the public functions pass the loader's errors on") {
  TextEncoderOptions encoder;
  encoder.module_path = "/nonexistent/e.so";
  CHECK(load_text_encoder(encoder).error().code() == ErrorCode::not_found);
  CHECK(load_tokenizer("folder", "/nonexistent/e.so").error().code() == ErrorCode::not_found);
  TorchScriptOptions torch;
  torch.module_path = fake("other_build");
  CHECK(load_torchscript(torch).error().code() == ErrorCode::version_mismatch);
}

TEST_CASE("module loader: files that are no modules are refused as corrupt") {
  const test::TemporaryFolder folder;
  folder.write("text.so", "this is text, not code");
  folder.write("empty.so", "");
  folder.write("cut.so", folder.read("text.so").replace(0, 4,
                                                        "\x7f"
                                                        "ELF"));
  for (const char* name : {"text.so", "empty.so", "cut.so"}) {
    CAPTURE(name);
    const auto module = load_module("torch", folder.file(name));
    REQUIRE_FALSE(module);
    CHECK(module.error().code() == ErrorCode::corrupt_data);
    CHECK(mentions(module.error(), folder.file(name)));
  }
  const auto no_symbol = load_module("no_symbol", fake("no_symbol"));
  REQUIRE_FALSE(no_symbol);
  CHECK(no_symbol.error().code() == ErrorCode::corrupt_data);
  CHECK(mentions(no_symbol.error(), "tidegate_module"));
  const auto no_table = load_module("no_table", fake("no_table"));
  REQUIRE_FALSE(no_table);
  CHECK(no_table.error().code() == ErrorCode::corrupt_data);
}

TEST_CASE("module loader: a module of another build is refused before anything else of it is read") {
  const auto module = load_module("other_build", fake("other_build"));
  REQUIRE_FALSE(module);
  CHECK(module.error().code() == ErrorCode::version_mismatch);
  CHECK(mentions(module.error(), "0.0.9-fedcba9876543210"));
  CHECK(mentions(module.error(), build_id()));
  CHECK(mentions(module.error(), fake("other_build")));
}

TEST_CASE("module loader: a module of another name is refused") {
  const auto module = load_module("torch", fake("sound"));
  REQUIRE_FALSE(module);
  CHECK(module.error().code() == ErrorCode::invalid_argument);
  CHECK(mentions(module.error(), "'sound'"));
}

TEST_CASE("module loader: a module whose library is missing says which and what to do") {
  const auto module = load_module("needs_more", fake("needs_more"));
  REQUIRE_FALSE(module);
  CHECK(module.error().code() == ErrorCode::not_found);
  CHECK(mentions(module.error(), "libtidegate_test_absent.so"));
  CHECK(mentions(module.error(), "LD_LIBRARY_PATH"));
}

TEST_CASE("module loader: a module whose libraries lack a symbol does not fit them") {
  const auto module = load_module("unresolved", fake("unresolved"));
  REQUIRE_FALSE(module);
  CHECK(module.error().code() == ErrorCode::version_mismatch);
  CHECK(mentions(module.error(), "tidegate_test_absent"));
}

TEST_CASE("module loader: threads that open modules at once get the same table") {
  const ModuleHeader* tables[8] = {};
  std::vector<std::thread> threads;
  for (auto& table : tables) {
    threads.emplace_back([&table] {
      const auto module = load_module("sound", fake("sound"));
      const auto absent = load_module("absent", {});
      if (module && !absent) table = module->table;
    });
  }
  for (auto& thread : threads) thread.join();
  for (const auto* table : tables) CHECK(table == load_module("sound", fake("sound"))->table);
}

TEST_CASE("module loader: probing reports every known module as usable or with its trouble") {
  const auto reports = probe_modules();
  REQUIRE(reports.size() == 3);
  CHECK(reports[0].name == "encoder");
  CHECK(reports[1].name == "torch");
  CHECK(reports[2].name == "rocksdb");
  for (const ModuleReport& report : reports) {
    CAPTURE(report.name);
    CAPTURE(report.trouble);
    CHECK(report.path.empty() != report.trouble.empty());
    CHECK(report.facts.empty() == report.path.empty());
  }
}
