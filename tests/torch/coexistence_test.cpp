// Two copies of oneDNN in one process: the encoder's and the one inside libtorch. Built
// once for each order of loading, because what is loaded stays loaded.
#include <doctest/doctest.h>

#include <fstream>

#include "base/module_loader.hpp"
#include "torch/torch_support.hpp"

using namespace tidegate;

namespace {

std::string onednn_of(const std::string& name) {
  const auto module = load_module(name, {});
  REQUIRE_MESSAGE(module, (module ? "" : module.error().text()));
  for (const auto& [key, value] : module->table->facts()) {
    if (key == "onednn") return value;
  }
  return {};
}

bool is_mapped(const std::string& name) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find("libtidegate_" + name + ".so") != std::string::npos) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("modules: encoder and torch run side by side, each with its own oneDNN") {
  const std::string folder = test::minilm_folder();
  if (folder.empty()) {
    MESSAGE("the MiniLM package is not installed: skipped");
    return;
  }
  const std::string first = FIRST_MODULE;
  const std::string second = first == "torch" ? "encoder" : "torch";
  const std::string first_alone = onednn_of(first);
  CHECK_FALSE(is_mapped(second));
  const std::string file = test::made_by("trace_minilm.py", {folder}) + "/minilm.pt";
  const TorchScriptOptions script{.file = file, .sha256 = test::sha256_of_file(file)};
  std::unique_ptr<ModelRunner> encoder;
  std::unique_ptr<ModelRunner> traced;
  const auto load = [&](const std::string& name) {
    auto runner = name == "torch" ? load_torchscript(script) : load_text_encoder({.folder = folder});
    REQUIRE_MESSAGE(runner, (runner ? "" : runner.error().text()));
    (name == "torch" ? traced : encoder) = *std::move(runner);
  };
  const auto texts = test::sentences(40);
  load(first);
  // The first one works before the second is there, so that its kernels are chosen.
  if (first == "encoder") CHECK(test::run_batch(*encoder, {Input(texts[0])})[0]);
  load(second);

  CHECK(onednn_of(first) == first_alone);
  const std::string second_version = onednn_of(second);
  CHECK_FALSE(second_version.empty());
  CHECK(first_alone != second_version);
  MESSAGE(first << " calls oneDNN " << first_alone << ", " << second << " calls " << second_version);

  const auto tokenizer = load_tokenizer(folder);
  REQUIRE(tokenizer);
  for (int round = 0; round < 2; ++round) {
    const auto agreement = test::compare_minilm(*encoder, *traced, **tokenizer, texts);
    CHECK(agreement.least_cosine >= 0.99999);
    CHECK(agreement.largest_difference <= 2e-5);
  }
}
