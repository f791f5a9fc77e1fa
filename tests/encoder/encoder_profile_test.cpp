// The profile of a text encoder: what it counts, and that it adds up.
#include "runner/encoder/encoder_profile.hpp"

#include "encoder/encoder_fixture.hpp"
#include "support/random_model.hpp"

namespace tidegate::test {

TEST_CASE("encoder profile: every kernel set has a peak in every number") {
  for (const std::string& isa : machine_isas()) {
    for (const Number number : {Number::f32, Number::bf16, Number::u8}) {
      CAPTURE(isa);
      CHECK(product_peak(*kernel_set_of(isa), number) > 1e6);
    }
  }
}

TEST_CASE("encoder profile: texts, tokens and times are those of the run") {
  const TemporaryFolder folder = write_random_model();
  for (const std::uint32_t threads : {1U, 2U}) {
    const auto runner = load(folder.path(), {.threads = threads, .isa = "plain"});
    const std::vector<std::string> texts(25, "a text of some words");
    std::size_t tokens = 0;
    for (const PreparedInput& input : prepare_all(*runner, texts)) tokens += input.tokens.size();
    const auto before = encode(*runner, texts);
    const auto measured = profile(*runner, KernelSet::plain, texts, 4);
    REQUIRE_MESSAGE(measured, (measured ? "" : measured.error().text()));
    CHECK(measured->texts == texts.size());
    CHECK(measured->tokens == tokens);
    CHECK(measured->isa == "plain");
    CHECK(measured->products_by == "kernels");
    CHECK(measured->precision == "f32");
    CHECK(measured->tokenize > Duration{0});
    CHECK(measured->products > Duration{0});
    CHECK(measured->attention > Duration{0});
    CHECK(measured->epilogues > Duration{0});
    const Duration encoded = measured->products + measured->attention + measured->epilogues + measured->other;
    CHECK(encoded == threads * (measured->wall - measured->tokenize));
    CHECK(measured->product_rate > 0);
    CHECK(encode(*runner, texts) == before);
  }
}

TEST_CASE("encoder profile: the precision is that of most products") {
  const TemporaryFolder folder = write_random_model();
  const std::vector<std::string> texts{"a text"};
  const auto bf16 = load(folder.path(), {.precision = Precision::bf16, .pack_folder = folder.path()});
  CHECK(profile(*bf16, best_kernel_set(cpu_features()), texts, 1)->precision == "bf16");
}

TEST_CASE("encoder profile: it says when products are oneDNN's") {
  const TemporaryFolder folder = write_random_model();
  const std::vector<std::string> texts{"a text"};
  const auto runner = load(folder.path(), {.products = ProductChoice::onednn});
  CHECK(profile(*runner, best_kernel_set(cpu_features()), texts, 1)->products_by == "onednn");
}

TEST_CASE("encoder profile: wrong input is refused") {
  const TemporaryFolder folder = write_random_model();
  TextEncoderOptions options;
  options.folder = folder.path();
  const std::vector<std::string> good{"a text"};
  const std::vector<std::string> bad{"a text", "bad \xff byte"};
  const auto code = [&](std::span<const std::string> texts, std::size_t batch_size) {
    const auto measured = profile_encoder(options, texts, batch_size);
    REQUIRE_FALSE(measured.has_value());
    return measured.error().code();
  };
  CHECK(code({}, 1) == ErrorCode::invalid_argument);
  CHECK(code(good, 0) == ErrorCode::invalid_argument);
  CHECK(code(good, 65537) == ErrorCode::invalid_argument);
  CHECK(code(bad, 1) == ErrorCode::invalid_argument);
  CHECK(profile_encoder(options, bad, 1).error().text().find("text 2") != std::string::npos);
  CHECK(profile_encoder(options, good, 65536).has_value());
  options.isa = "none";
  CHECK(code(good, 1) == ErrorCode::invalid_argument);
}

}  // namespace tidegate::test
