#include <doctest/doctest.h>

#include "torch/torch_support.hpp"

using namespace tidegate;

TEST_CASE("traced minilm: the encoder agrees with torch on some hundred sentences") {
  const std::string folder = test::minilm_folder();
  if (folder.empty()) {
    MESSAGE("the MiniLM package is not installed: skipped");
    return;
  }
  const std::string file = test::made_by("trace_minilm.py", {folder}) + "/minilm.pt";
  const auto traced = load_torchscript({.file = file, .sha256 = test::sha256_of_file(file)});
  REQUIRE_MESSAGE(traced, (traced ? "" : traced.error().text()));
  const auto encoder = load_text_encoder({.folder = folder});
  REQUIRE_MESSAGE(encoder, (encoder ? "" : encoder.error().text()));
  const auto tokenizer = load_tokenizer(folder);
  REQUIRE(tokenizer);
  const auto texts = test::sentences(400);
  REQUIRE(texts.size() >= 300);
  const auto agreement = test::compare_minilm(**encoder, **traced, **tokenizer, texts);
  MESSAGE(texts.size() << " sentences: least cosine " << agreement.least_cosine << ", largest difference "
                       << agreement.largest_difference);
  CHECK(agreement.least_cosine >= 0.99999);
  CHECK(agreement.largest_difference <= 2e-5);
}
