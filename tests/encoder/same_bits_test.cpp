// An embedding's bytes depend on the model and the text alone.
#include <algorithm>
#include <cstdlib>
#include <random>
#include <thread>

#include "encoder/encoder_fixture.hpp"
#include "support/random_model.hpp"

namespace tidegate::test {
namespace {

/// `count` sentences of STS-B (spread over the file) where it can be read, else generated texts.
std::vector<std::string> sample_texts(std::size_t count) {
  const std::string file = std::string(TIDEGATE_TEST_SHARED_DIR) + "/data/stsb.tsv.gz";
  const TemporaryFolder folder;
  const std::string command = std::string("'") + TIDEGATE_TEST_PYTHON + "' '" + TIDEGATE_TEST_SOURCE_DIR +
                              "/tests/encoder/torch_reference.py' texts '" + file + "' '" + folder.file("texts") +
                              "' 2>/dev/null";
  if (!std::filesystem::exists(file) || std::system(command.c_str()) != 0) {
    MESSAGE("generated texts in place of STS-B, which cannot be read here");
    return random_texts(count, 40);
  }
  const std::vector<std::string> all = read_lines(folder.file("texts"));
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < count; ++i) texts.push_back(all[i * all.size() / count]);
  // Lengths that STS-B lacks: empty, and up to the model's limit.
  for (std::size_t i = 0; i < 12; ++i)
    texts[i * count / 12] = random_texts(1, 12 * i + 1, static_cast<std::uint32_t>(i)).front();
  texts[1].clear();
  return texts;
}

std::vector<Embedding> one_by_one(ModelRunner& runner, const std::vector<PreparedInput>& inputs) {
  std::vector<Embedding> embeddings;
  for (const PreparedInput& input : inputs) embeddings.push_back(run_batch(runner, {&input}).front());
  return embeddings;
}

/// Runs all inputs in batches of random sizes in a random order; answers how many differ.
std::size_t count_different(ModelRunner& runner, const std::vector<PreparedInput>& inputs,
                            const std::vector<Embedding>& expected, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<std::size_t> order(inputs.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::shuffle(order.begin(), order.end(), generator);
  std::size_t different = 0;
  for (std::size_t first = 0; first < order.size();) {
    const std::size_t size = std::min<std::size_t>(2 + generator() % 63, order.size() - first);
    std::vector<const PreparedInput*> batch;
    for (std::size_t i = 0; i < size; ++i) batch.push_back(&inputs[order[first + i]]);
    const auto embeddings = run_batch(runner, batch);
    for (std::size_t i = 0; i < size; ++i) {
      different += same_bits(embeddings[i], expected[order[first + i]]) ? 0 : 1;
    }
    first += size;
  }
  return different;
}

/// Runs each of the longest texts with none to three of the shortest: which of the ways to
/// share a batch among threads is taken depends on this. Answers how many differ.
std::size_t count_different_unequal(ModelRunner& runner, const std::vector<PreparedInput>& inputs,
                                    const std::vector<Embedding>& expected) {
  std::vector<std::size_t> order(inputs.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return inputs[a].tokens.size() > inputs[b].tokens.size(); });
  std::size_t different = 0;
  for (std::size_t i = 0; i < std::min<std::size_t>(16, order.size() / 4); ++i) {
    std::vector<std::size_t> places = {order[i]};
    for (std::size_t other = 0; other < i % 4; ++other) places.push_back(order[order.size() - 1 - i - other]);
    std::vector<const PreparedInput*> batch;
    for (const std::size_t place : places) batch.push_back(&inputs[place]);
    const auto embeddings = run_batch(runner, batch);
    for (std::size_t k = 0; k < places.size(); ++k) different += same_bits(embeddings[k], expected[places[k]]) ? 0 : 1;
  }
  return different;
}

void check_same_bits(const std::string& folder, const std::vector<std::string>& texts, LoadOptions how) {
  const auto single = load(folder, how);
  how.threads = 2;
  const auto pair = load(folder, how);
  CHECK(single->info().fingerprint == pair->info().fingerprint);
  const std::vector<PreparedInput> inputs = prepare_all(*single, texts);
  const std::vector<Embedding> expected = one_by_one(*single, inputs);
  CHECK(count_different(*single, inputs, expected, 1) == 0);
  CHECK(count_different(*pair, inputs, expected, 2) == 0);
  CHECK(count_different_unequal(*pair, inputs, expected) == 0);
  const auto everything = encode(*pair, texts);
  std::size_t different = 0;
  for (std::size_t i = 0; i < texts.size(); ++i) different += same_bits(everything[i], expected[i]) ? 0 : 1;
  CHECK(different == 0);
}

/// 2000 texts on every instruction set that this machine has.
void check_minilm(Precision precision) {
  const std::string model = minilm_folder();
  if (model.empty()) {
    MESSAGE("not checked: the MiniLM package is absent");
    return;
  }
  const TemporaryFolder packs;
  for (const std::string& isa : machine_isas()) {
    // The plain kernels are slow, and one loop each: a few texts say as much.
    const std::vector<std::string> texts = sample_texts(isa == "plain" ? 40 : 2000);
    INFO(isa);
    check_same_bits(model, texts, {.precision = precision, .isa = isa, .pack_folder = packs.path()});
  }
}

}  // namespace

TEST_CASE("same bits 4.13/6: MiniLM's texts alone, in batches of 2 to 64, shuffled, on 1 and 2 threads, at f32") {
  check_minilm(Precision::f32);
}

TEST_CASE("same bits 4.13/6: MiniLM's texts alone, in batches of 2 to 64, shuffled, on 1 and 2 threads, at bf16") {
  check_minilm(Precision::bf16);
}

TEST_CASE("same bits 4.13/6: MiniLM's texts alone, in batches of 2 to 64, shuffled, on 1 and 2 threads, at int8") {
  check_minilm(Precision::int8);
}

TEST_CASE("same bits: MiniLM with oneDNN's products, at every precision") {
  const std::string model = minilm_folder();
  if (model.empty()) {
    MESSAGE("not checked: the MiniLM package is absent");
    return;
  }
  const TemporaryFolder packs;
  for (const Precision precision : {Precision::f32, Precision::bf16, Precision::int8}) {
    INFO(to_string(precision));
    check_same_bits(model, sample_texts(500),
                    {.precision = precision, .products = ProductChoice::onednn, .pack_folder = packs.path()});
  }
}

TEST_CASE("same bits: random models of awkward sizes, every kernel set and precision, both ways of multiplying") {
  RandomModelOptions options;
  SUBCASE("small") {}
  SUBCASE("odd sizes, dense stage") {
    options.config.hidden_size = 35;
    options.config.heads = 7;
    options.config.intermediate_size = 77;
    options.stages = {RandomDense{.out_features = 19}, RandomNormalize{}};
  }
  const TemporaryFolder folder = write_random_model(options);
  const std::vector<std::string> texts = random_texts(120, 30);
  for (const std::string& isa : machine_isas()) {
    for (const Precision precision : {Precision::f32, Precision::bf16, Precision::int8}) {
      for (const ProductChoice products : {ProductChoice::kernels, ProductChoice::onednn}) {
        INFO(isa << ", " << to_string(precision));
        check_same_bits(folder.path(), texts, {.precision = precision, .isa = isa, .products = products});
      }
    }
  }
}

TEST_CASE("same bits: calls from several threads at once answer each its own texts") {
  const TemporaryFolder folder = write_random_model();
  const auto runner = load(folder.path(), {.threads = 2});
  const std::vector<std::string> texts = random_texts(64, 20);
  const std::vector<Embedding> expected = encode(*runner, texts);
  std::vector<std::vector<Embedding>> given(4);
  {
    std::vector<std::jthread> callers;
    for (auto& mine : given) {
      callers.emplace_back([&] {
        for (int round = 0; round < 20; ++round) mine = encode(*runner, texts);
      });
    }
  }
  for (const auto& mine : given) {
    REQUIRE(mine.size() == expected.size());
    for (std::size_t i = 0; i < mine.size(); ++i) CHECK(same_bits(mine[i], expected[i]));
  }
}

TEST_CASE("same bits: the fingerprint tells prompts, kernel sets and ways of multiplying apart") {
  RandomModelOptions options;
  options.prompts = {{"query", "the gate "}, {"passage", "the water "}};
  const TemporaryFolder folder = write_random_model(options);
  const Digest plain = load(folder.path())->info().fingerprint;
  CHECK(load(folder.path())->info().fingerprint == plain);
  CHECK(load(folder.path(), {.prompt = "query"})->info().fingerprint != plain);
  CHECK(load(folder.path(), {.prompt = "query"})->info().fingerprint !=
        load(folder.path(), {.prompt = "passage"})->info().fingerprint);
  CHECK(load(folder.path(), {.precision = Precision::bf16})->info().fingerprint != plain);
  CHECK(load(folder.path(), {.isa = "plain", .products = ProductChoice::kernels})->info().fingerprint !=
        load(folder.path(), {.isa = "plain", .products = ProductChoice::onednn})->info().fingerprint);
  options.seed = 2;
  const TemporaryFolder other = write_random_model(options);
  CHECK(load(other.path())->info().fingerprint != plain);
}

}  // namespace tidegate::test
