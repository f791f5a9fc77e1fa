// Packed precisions on the real model: fidelity, the choice of `automatic`, packed files.
#include <algorithm>
#include <cstdlib>

#include "encoder/encoder_fixture.hpp"
#include "runner/encoder/fidelity.hpp"
#include "support/random_model.hpp"
#include "support/temporary_folder.hpp"

namespace tidegate::test {
namespace {

/// Packed files of MiniLM, made by whichever test comes first.
const std::string& shared_packs() {
  static const TemporaryFolder folder;
  static const std::string path = folder.path();
  return path;
}

/// MiniLM's folder; says so and is empty where it is absent.
std::string model_or_skip() {
  std::string model = minilm_folder();
  if (model.empty()) MESSAGE("not checked: the MiniLM package is absent");
  return model;
}

/// Every fourth test sentence of STS-B; empty where it cannot be read.
std::vector<std::string> sts_sentences() {
  const std::string file = std::string(TIDEGATE_TEST_SHARED_DIR) + "/data/stsb.tsv.gz";
  const TemporaryFolder folder;
  const std::string command = std::string("'") + TIDEGATE_TEST_PYTHON + "' '" + TIDEGATE_TEST_SOURCE_DIR +
                              "/tests/encoder/torch_reference.py' texts '" + file + "' '" + folder.file("texts") +
                              "' 2>/dev/null";
  std::vector<std::string> texts;
  if (!std::filesystem::exists(file) || std::system(command.c_str()) != 0) return texts;
  const std::vector<std::string> all = read_lines(folder.file("texts"));
  for (std::size_t i = 0; i < all.size(); i += 4) texts.push_back(all[i]);
  return texts;
}

/// Text unlike the sentences that tuned anything: code, data, then German, French,
/// Russian, Japanese, Arabic and Hindi in UTF-8, numbers, and long English.
std::vector<std::string> unusual_texts() {
  std::vector<std::string> texts = {
      "for (std::size_t i = 0; i + 1 < rows.size(); ++i) sums[i] += rows[i] * factor;",
      "SELECT name, COUNT(*) FROM orders WHERE paid_at IS NULL GROUP BY name HAVING COUNT(*) > 3;",
      "{\"status\": 404, \"error\": {\"code\": \"not_found\", \"field\": \"user.id\"}}",
      "def flatten(xs):\n    return [y for x in xs for y in (flatten(x) if isinstance(x, list) else [x])]",
      "Die F\303\244hre legt wegen des Sturms heute erst gegen Mitternacht an.",
      "La mar\303\251e monte plus vite que pr\303\251vu; les p\303\252cheurs rentrent au port.",
      "\320\237\321\200\320\270\320\273\320\270\320\262 \320\275\320\260\321\207\320\260\320\273\321\201\321\217 "
      "\321\200\320\260\320\275\321\214\321\210\320\265, \321\207\320\265\320\274 "
      "\320\276\320\261\320\265\321\211\320\260\320\273\320\270 \321\200\321\213\320\261\320\260\320\272\320\270.",
      "\346\275\256\343\201\214\346\272\200\343\201\241\343\202\213\345\211\215\343\201\253\351\226\200\343\202\222\351"
      "\226\211\343\202\201\343\201\252\343\201\221\343\202\214\343\201\260\343\201\252\343\202\211\343\201\252\343\201"
      "\204\343\200\202",
      "\331\212\331\201\330\252\330\255 \330\247\331\204\330\255\330\247\330\261\330\263 "
      "\330\247\331\204\330\250\331\210\330\247\330\250\330\251 \330\271\331\206\330\257 "
      "\330\247\331\204\331\201\330\254\330\261 \331\203\331\204 \331\212\331\210\331\205.",
      "\340\244\234\340\245\215\340\244\265\340\244\276\340\244\260 "
      "\340\244\211\340\244\244\340\244\260\340\244\250\340\245\207 \340\244\225\340\245\207 "
      "\340\244\254\340\244\276\340\244\246 \340\244\250\340\244\276\340\244\265\340\245\207\340\244\202 "
      "\340\244\260\340\245\207\340\244\244 \340\244\252\340\244\260 \340\244\260\340\244\271 "
      "\340\244\227\340\244\210\340\244\202\340\245\244",
      "",
      "4711 0815 3.14159 -273.15 1e-9 0x7fff"};
  std::string longer;
  for (int part = 0; part < 40; ++part) {
    longer +=
        "In the " + std::to_string(part + 1) + "th hour the keeper wrote down wind, water and the ships passing. ";
    if (part % 13 == 12) texts.push_back(longer);
  }
  return texts;
}

Agreement agreement_with_f32(const std::string& model, const LoadOptions& how, const std::vector<std::string>& texts) {
  const auto flat = [&](ModelRunner& runner) {
    std::vector<float> rows;
    for (const Embedding& embedding : encode(runner, texts))
      rows.insert(rows.end(), embedding.begin(), embedding.end());
    return rows;
  };
  const std::vector<float> rows = flat(*load(model, how));
  const std::vector<float> reference = flat(*load(model, {.threads = 2}));
  return agreement_of(cosines_of(rows, reference, reference.size() / texts.size()));
}

bool has_note(const ModelRunner& runner, std::string_view part) {
  const auto& notes = runner.info().notes;
  return std::any_of(notes.begin(), notes.end(),
                     [&](const std::string& note) { return note.find(part) != std::string::npos; });
}

}  // namespace

TEST_CASE("precision: bf16 and int8 of MiniLM agree with f32 on sentences, long, code-like and non-English text") {
  const std::string model = model_or_skip();
  if (model.empty()) return;
  const std::vector<std::string> sentences = sts_sentences();
  if (sentences.empty()) MESSAGE("STS-B cannot be read here: unusual texts only");
  for (const std::string& isa : machine_isas()) {
    if (isa == "plain") continue;  // as exact as the others, but slow
    for (const Precision precision : {Precision::bf16, Precision::int8}) {
      INFO(isa << ", " << to_string(precision));
      const LoadOptions how{.threads = 2, .precision = precision, .isa = isa, .pack_folder = shared_packs()};
      if (!sentences.empty()) {
        const Agreement agreement = agreement_with_f32(model, how, sentences);
        INFO("mean " << agreement.mean << ", p1 " << agreement.p1 << ", minimum " << agreement.minimum);
        CHECK(passes(agreement, gate_of(precision)));
      }
      const Agreement unusual = agreement_with_f32(model, how, unusual_texts());
      CHECK(unusual.minimum >= (precision == Precision::bf16 ? 0.999 : 0.99));
    }
  }
}

TEST_CASE("precision: bf16 and int8 of random models stay near f32") {
  RandomModelOptions options;
  SUBCASE("heads of 64, first token") {
    options.config.hidden_size = 128;
    options.config.heads = 2;
    options.config.intermediate_size = 512;
    options.pooling = {.cls_token = true};
  }
  SUBCASE("odd sizes, mean") {
    options.config.hidden_size = 70;
    options.config.heads = 5;
    options.config.intermediate_size = 150;
  }
  const TemporaryFolder folder = write_random_model(options);
  const std::vector<std::string> texts = random_texts(60, 30);
  for (const std::string& isa : machine_isas()) {
    INFO(isa);
    const Agreement bf16 =
        agreement_with_f32(folder.path(), {.threads = 2, .precision = Precision::bf16, .isa = isa}, texts);
    CHECK(bf16.minimum >= 0.999);
    const Agreement int8 =
        agreement_with_f32(folder.path(), {.threads = 2, .precision = Precision::int8, .isa = isa}, texts);
    CHECK(int8.minimum >= 0.99);
  }
}

TEST_CASE("precision: automatic takes the fastest whose stored report passes, by the speeds of the kernels in use") {
  const std::string model = model_or_skip();
  if (model.empty()) return;
  const LoadOptions how{.threads = 2, .precision = Precision::automatic, .pack_folder = shared_packs()};
  const auto first = load(model, how);
  // Elsewhere f32 may be as fast, and is then taken.
  if (cpu_features().avx512_vnni) {
    CHECK(has_note(*first, "precision: int8"));
    CHECK(has_note(*first, "the fastest that passed its gate"));
  }
  LoadOptions plain = how;
  plain.isa = "plain";
  const auto slower = load(model, plain);
  CHECK(has_note(*slower, "tokens/s"));
  const auto reason = [](const ModelRunner& runner) {
    const auto& notes = runner.info().notes;
    return *std::find_if(notes.begin(), notes.end(),
                         [](const std::string& note) { return note.find("tokens/s") != std::string::npos; });
  };
  CHECK(reason(*slower) != reason(*first));
  const auto again = load(model, how);
  CHECK(reason(*again) == reason(*first));  // from the files, not timed
  CHECK(again->info().fingerprint == first->info().fingerprint);
}

TEST_CASE("precision: automatic says of every packed file that it could not be kept, whichever is taken") {
  const TemporaryFolder model = write_random_model();
  const TemporaryFolder packs;
  packs.write("file", "no folder");
  const auto runner = load(model.path(), {.precision = Precision::automatic, .pack_folder = packs.path() + "/file"});
  for (const std::string_view name : {"-int8.pack", "-bf16.pack"}) {
    CHECK(std::any_of(runner->info().notes.begin(), runner->info().notes.end(), [&](const std::string& note) {
      return note.find("were not stored") != std::string::npos && note.find(name) != std::string::npos;
    }));
  }
}

TEST_CASE("precision: a load without calibration texts takes the file of one that had some") {
  const TemporaryFolder model = write_random_model();
  TextEncoderOptions options;
  options.folder = model.path();
  options.precision = Precision::int8;
  options.calibration_texts = random_texts(70, 10);
  const auto first = TextEncoderRunner::create(options);
  options.calibration_texts.clear();
  const auto second = TextEncoderRunner::create(options);
  REQUIRE((first && second));
  CHECK_FALSE(has_note(**second, "packed anew"));
  CHECK((*first)->info().fingerprint == (*second)->info().fingerprint);
  options.calibration_texts = random_texts(70, 10, 8);
  const auto third = TextEncoderRunner::create(options);
  REQUIRE(third);
  CHECK(has_note(**third, "other calibration texts"));
}

TEST_CASE("precision: a damaged packed file is made anew and gives the same bits") {
  const std::string model = model_or_skip();
  if (model.empty()) return;
  const TemporaryFolder packs;
  const LoadOptions how{.threads = 2, .precision = Precision::bf16, .pack_folder = packs.path()};
  const std::vector<std::string> texts = random_texts(20, 20);
  const auto whole = load(model, how);
  const std::vector<Embedding> expected = encode(*whole, texts);
  const std::string name = std::filesystem::directory_iterator(packs.path())->path().filename().string();
  const std::string intact = packs.read(name);
  std::string bytes = intact;
  bytes[bytes.size() / 2] ^= 0x40;
  packs.write(name, bytes);
  const auto mended = load(model, how);
  const std::vector<Embedding> given = encode(*mended, texts);
  for (std::size_t i = 0; i < texts.size(); ++i) CHECK(same_bits(given[i], expected[i]));
  CHECK(mended->info().fingerprint == whole->info().fingerprint);
  CHECK(has_note(*mended, "packed anew"));
  CHECK(packs.read(name).size() == intact.size());
  CHECK_FALSE(has_note(*load(model, how), "packed anew"));
}

}  // namespace tidegate::test
