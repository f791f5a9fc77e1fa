// Bad input and odd input: a clear error or a right answer, never a hang.
#include <dlfcn.h>

#include <cmath>

#include "encoder/encoder_fixture.hpp"
#include "runner/module_abi.hpp"
#include "support/random_model.hpp"
#include "tidegate/version.hpp"

namespace tidegate::test {
namespace {

ErrorCode load_error(const TextEncoderOptions& options) {
  const auto runner = TextEncoderRunner::create(options);
  REQUIRE_FALSE(runner.has_value());
  INFO(runner.error().text());
  CHECK_FALSE(runner.error().message().empty());
  return runner.error().code();
}

bool is_unit(const Embedding& vector) {
  double squares = 0;
  for (const float value : vector) squares += static_cast<double>(value) * value;
  return std::abs(squares - 1.0) < 1e-5;
}

}  // namespace

TEST_CASE("encoder faults: options that cannot be met are refused by name") {
  const TemporaryFolder folder = write_random_model();
  CHECK(load_error({.folder = folder.path(), .threads = 0}) == ErrorCode::invalid_argument);
  CHECK(load_error({.folder = folder.path(), .threads = 257}) == ErrorCode::invalid_argument);
  CHECK(load_error({.folder = {}}) == ErrorCode::invalid_argument);
  CHECK(load_error({.folder = folder.path() + "/nowhere"}) == ErrorCode::not_found);
  CHECK(load_error({.folder = folder.path(), .prompt = "query"}) == ErrorCode::invalid_argument);
  CHECK(load_error({.folder = folder.path(), .isa = "sse9"}) == ErrorCode::invalid_argument);
  for (const KernelSet set : kKernelSets) {
    if (supports(cpu_features(), set)) continue;
    CHECK(load_error({.folder = folder.path(), .isa = std::string(to_string(set))}) == ErrorCode::unsupported);
  }
}

TEST_CASE("encoder faults: a damaged folder is an error that names the file") {
  const TemporaryFolder folder = write_random_model();
  SUBCASE("no weights") {
    folder.remove("model.safetensors");
    CHECK(load_error({.folder = folder.path()}) == ErrorCode::not_found);
  }
  SUBCASE("cut weights") {
    const std::string whole = folder.read("model.safetensors");
    folder.write("model.safetensors", whole.substr(0, whole.size() - 1));
    CHECK(load_error({.folder = folder.path()}) == ErrorCode::corrupt_data);
  }
  SUBCASE("no configuration") {
    folder.remove("config.json");
    CHECK(load_error({.folder = folder.path()}) == ErrorCode::not_found);
  }
  SUBCASE("no tokenizer") {
    folder.remove("tokenizer.json");
    folder.remove("vocab.txt");
    CHECK(load_error({.folder = folder.path()}) == ErrorCode::not_found);
  }
  SUBCASE("tokenizer that is not JSON") {
    folder.write("tokenizer.json", "{");
    CHECK(load_error({.folder = folder.path()}) == ErrorCode::corrupt_data);
  }
  SUBCASE("tokenizer of a larger vocabulary") {
    const TemporaryFolder larger = write_random_model({.config = {.vocab_size = 400,
                                                                  .hidden_size = 32,
                                                                  .layers = 1,
                                                                  .heads = 4,
                                                                  .intermediate_size = 64,
                                                                  .max_positions = 64,
                                                                  .token_types = 2}});
    folder.write("tokenizer.json", larger.read("tokenizer.json"));
    CHECK(load_error({.folder = folder.path()}) == ErrorCode::corrupt_data);
  }
}

TEST_CASE("encoder faults: inputs that are no text are refused, odd texts are embedded") {
  const TemporaryFolder folder = write_random_model();
  const auto runner = load(folder.path(), {.threads = 2});
  const auto tensors = runner->prepare(std::vector<Tensor>{Tensor()});
  REQUIRE_FALSE(tensors.has_value());
  CHECK(tensors.error().code() == ErrorCode::invalid_argument);
  const auto malformed = runner->prepare(std::string("water \xff gate"));
  REQUIRE_FALSE(malformed.has_value());
  CHECK(malformed.error().code() == ErrorCode::invalid_argument);
  CHECK(std::string(malformed.error().message()).find('6') != std::string::npos);

  const std::string huge(1U << 20, 'a');
  const std::vector<std::string> texts = {"", "   \t\n ", huge, std::string("wa\0ter", 6), std::string(3, '\0')};
  const auto embeddings = encode(*runner, texts);
  for (const Embedding& embedding : embeddings) {
    CHECK(embedding.size() == 32);
    CHECK(is_unit(embedding));
  }
  CHECK(same_bits(embeddings[0], embeddings[1]));
  CHECK(same_bits(embeddings[0], embeddings[4]));
  const auto prepared = runner->prepare(std::string(300, '.'));
  REQUIRE(prepared.has_value());
  CHECK(prepared->tokens.size() == runner->info().max_tokens);
  CHECK(prepared->size.tokens == prepared->tokens.size());
}

TEST_CASE("encoder faults: malformed UTF-8 is named by its place in the text also where a prompt precedes") {
  RandomModelOptions options;
  options.prompts = {{"query", "the gate of water "}};
  options.default_prompt = "query";
  const TemporaryFolder folder = write_random_model(options);
  const auto malformed = load(folder.path())->prepare(std::string("abc\xff"));
  REQUIRE_FALSE(malformed.has_value());
  CHECK(std::string(malformed.error().message()).find('3') != std::string::npos);
}

TEST_CASE("encoder faults: a bad item of a batch fails alone") {
  const TemporaryFolder folder = write_random_model();
  const auto runner = load(folder.path(), {.threads = 2});
  auto good = runner->prepare(std::string("the water"));
  REQUIRE(good.has_value());
  PreparedInput empty;
  PreparedInput outside = *good;
  outside.tokens[1] = 300;
  PreparedInput negative = *good;
  negative.tokens[1] = -1;
  PreparedInput long_one = *good;
  long_one.tokens.assign(65, 5);
  std::vector<BatchItem> batch(6);
  batch[0].input = &*good;
  batch[1].input = &empty;
  batch[2].input = &outside;
  batch[3].input = nullptr;
  batch[4].input = &negative;
  batch[5].input = &long_one;
  runner->run(batch);
  CHECK(batch[0].output.has_value());
  for (std::size_t i = 1; i < batch.size(); ++i) REQUIRE_FALSE(batch[i].output.has_value());
  CHECK(batch[1].output.error().code() == ErrorCode::invalid_argument);
  CHECK(batch[2].output.error().code() == ErrorCode::invalid_argument);
  CHECK(batch[3].output.error().code() == ErrorCode::internal);
  CHECK(batch[4].output.error().code() == ErrorCode::invalid_argument);
  CHECK(batch[5].output.error().code() == ErrorCode::invalid_argument);
  std::vector<BatchItem> none;
  runner->run(none);
}

TEST_CASE("encoder faults: a hundred thousand texts in one call") {
  const TemporaryFolder folder = write_random_model({.config = {.vocab_size = 300,
                                                                .hidden_size = 16,
                                                                .layers = 1,
                                                                .heads = 2,
                                                                .intermediate_size = 32,
                                                                .max_positions = 64,
                                                                .token_types = 2}});
  const auto runner = load(folder.path(), {.threads = 2});
  const std::vector<std::string> texts = random_texts(50, 4);
  const std::vector<PreparedInput> inputs = prepare_all(*runner, texts);
  const std::vector<Embedding> expected = encode(*runner, texts);
  std::vector<BatchItem> batch(100000);
  for (std::size_t i = 0; i < batch.size(); ++i) batch[i].input = &inputs[i % inputs.size()];
  runner->run(batch);
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    if (!batch[i].output) {
      ++wrong;
      continue;
    }
    const auto values = batch[i].output->front().as<float>();
    wrong += same_bits(expected[i % expected.size()], Embedding(values.begin(), values.end())) ? 0 : 1;
  }
  CHECK(wrong == 0);
}

TEST_CASE("encoder module: opens by itself, carries this build's id, loads, and exports one symbol") {
  const std::string path = std::string(TIDEGATE_TEST_BINARY_DIR) + "/libtidegate_encoder.so";
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) FAIL(::dlerror());
  const auto entry = reinterpret_cast<ModuleEntry>(::dlsym(library, kModuleSymbol));
  REQUIRE((entry != nullptr));
  const auto* table = static_cast<const ModuleTable*>(entry());
  CHECK(std::string(table->build_id) == build_id());
  CHECK(std::string(table->name) == "encoder");
  CHECK((table->load_torchscript == nullptr));
  CHECK(::dlsym(library, "_ZN8tidegate8build_idEv") == nullptr);
  CHECK(table->facts().size() >= 3);
  const TemporaryFolder folder = write_random_model();
  auto runner = table->load_text_encoder({.folder = folder.path(), .threads = 2});
  if (!runner) FAIL(runner.error().text());
  const std::vector<std::string> texts = random_texts(20, 20);
  const auto ours = load(folder.path());
  CHECK((*runner)->info().fingerprint == ours->info().fingerprint);
  const auto given = encode(**runner, texts);
  const auto expected = encode(*ours, texts);
  for (std::size_t i = 0; i < texts.size(); ++i) CHECK(same_bits(given[i], expected[i]));
  auto tokenizer = table->load_tokenizer(folder.path());
  if (!tokenizer) FAIL(tokenizer.error().text());
  CHECK((*tokenizer)->encode("the water").value() == ours->prepare(std::string("the water")).value().tokens);
  CHECK_FALSE(table->load_tokenizer("").has_value());
  CHECK_FALSE(table->load_tokenizer(folder.path() + "/nowhere").has_value());
  CHECK_FALSE(table->load_text_encoder({.folder = folder.path(), .threads = 0}).has_value());
}

}  // namespace tidegate::test
