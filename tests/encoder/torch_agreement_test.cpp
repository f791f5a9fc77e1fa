// The encoder against the same model in plain torch operations (torch_reference.py).
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <nlohmann/json.hpp>

#include "encoder/encoder_fixture.hpp"
#include "support/random_model.hpp"

namespace tidegate::test {
namespace {

const std::string kScript = std::string(TIDEGATE_TEST_SOURCE_DIR) + "/tests/encoder/torch_reference.py";
const std::string kStsb = std::string(TIDEGATE_TEST_SHARED_DIR) + "/data/stsb.tsv.gz";

/// Standard output of the script, or an empty string if it failed.
std::string run_script(const std::string& arguments) {
  const std::string command = std::string("'") + TIDEGATE_TEST_PYTHON + "' '" + kScript + "' " + arguments;
  std::FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return {};
  std::string output;
  char buffer[4096];
  while (const std::size_t size = std::fread(buffer, 1, sizeof buffer, pipe)) output.append(buffer, size);
  return ::pclose(pipe) == 0 ? output : std::string();
}

bool have_torch() {
  static const bool have = [] {
    const std::string probe =
        std::string("'") + TIDEGATE_TEST_PYTHON + "' -c 'import torch, numpy, tokenizers' >/dev/null 2>&1";
    return std::system(probe.c_str()) == 0;
  }();
  return have;
}

void write_embeddings(const std::string& path, const std::vector<Embedding>& embeddings) {
  std::ofstream out(path, std::ios::binary);
  for (const Embedding& row : embeddings) {
    out.write(reinterpret_cast<const char*>(row.data()), static_cast<std::streamsize>(row.size() * sizeof(float)));
  }
}

/// The script's results for a list of jobs, in their order.
nlohmann::json compare(const nlohmann::json& jobs, const TemporaryFolder& folder) {
  folder.write("jobs.json", jobs.dump());
  const std::string output = run_script("compare '" + folder.file("jobs.json") + "'");
  REQUIRE_FALSE(output.empty());
  return nlohmann::json::parse(output);
}

void check_result(const nlohmann::json& result) {
  INFO(result.dump());
  CHECK(result["min_cosine"].get<double>() >= 0.99999);
  CHECK(result["max_difference"].get<double>() <= 2e-5);
}

struct Variant {
  std::string name;
  RandomModelOptions options;
};

void add(std::vector<Variant>& list, std::string name, const std::function<void(RandomModelOptions&)>& change) {
  list.push_back({std::move(name), {}});
  change(list.back().options);
}

void add_poolings(std::vector<Variant>& list) {
  add(list, "CLS pooling, relu", [](auto& model) {
    model.pooling = {.cls_token = true};
    model.config.activation = Activation::relu;
  });
  add(list, "maximum pooling, gelu_new", [](auto& model) {
    model.pooling = {.max_tokens = true};
    model.config.activation = Activation::gelu_tanh;
  });
  add(list, "mean over the root", [](auto& model) { model.pooling = {.mean_sqrt_len_tokens = true}; });
  add(list, "weighted mean", [](auto& model) { model.pooling = {.weighted_mean_tokens = true}; });
  add(list, "last token", [](auto& model) { model.pooling = {.last_token = true}; });
  add(list, "every pooling, not normalized", [](auto& model) {
    model.pooling = {true, true, true, true, true, true, true};
    model.stages.clear();
  });
  add(list, "prompt that is pooled", [](auto& model) {
    model.prompts = {{"query", "the gate of water "}};
    model.default_prompt = "query";
  });
  add(list, "prompt left out of pooling", [](auto& model) {
    model.prompts = {{"query", "the gate of water "}};
    model.default_prompt = "query";
    model.pooling = {true, true, true, true, true, true, false};
  });
}

void add_sizes(std::vector<Variant>& list) {
  const auto sizes = [&](std::string name, std::uint32_t hidden, std::uint32_t heads, std::uint32_t intermediate) {
    add(list, std::move(name), [=](auto& model) {
      model.config.hidden_size = hidden;
      model.config.heads = heads;
      model.config.intermediate_size = intermediate;
    });
  };
  sizes("head size 32", 96, 3, 200);
  sizes("head size 64", 128, 2, 512);
  sizes("hidden 35, heads of 5, feed-forward 77", 35, 7, 77);
  sizes("heads of one", 8, 8, 9);
  sizes("one wide head", 100, 1, 64);
}

std::vector<Variant> variants() {
  std::vector<Variant> list;
  add(list, "as generated", [](auto&) {});
  add(list, "plain BERT folder", [](auto& model) { model.plain_bert = true; });
  add(list, "names under bert.", [](auto& model) { model.name_prefix = "bert."; });
  add(list, "F16", [](auto& model) { model.type = DataType::f16; });
  add(list, "BF16", [](auto& model) { model.type = DataType::bf16; });
  add(list, "truncation at 7 tokens", [](auto& model) { model.max_seq_length = 7; });
  add(list, "dense stages", [](auto& model) {
    model.stages = {RandomDense{.out_features = 24, .activation = Activation::tanh},
                    RandomDense{.out_features = 100, .activation = Activation::gelu_erf},
                    RandomDense{.out_features = 17, .activation = Activation::identity, .has_bias = false},
                    RandomNormalize{}};
  });
  add_poolings(list);
  add_sizes(list);
  return list;
}

}  // namespace

TEST_CASE("torch agreement: MiniLM on every STS-B test sentence, and the published rank correlation") {
  const std::string model = minilm_folder();
  if (!have_torch() || model.empty() || !std::filesystem::exists(kStsb)) {
    MESSAGE("not checked: torch, the MiniLM package or data/stsb.tsv.gz is absent");
    return;
  }
  const TemporaryFolder folder;
  run_script("texts '" + kStsb + "' '" + folder.file("texts") + "'");
  const std::vector<std::string> texts = read_lines(folder.file("texts"));
  REQUIRE(texts.size() == 2758);
  write_embeddings(folder.file("machine"), encode(*load(model, {.threads = 2}), texts));
  write_embeddings(folder.file("onednn"),
                   encode(*load(model, {.threads = 2, .products = ProductChoice::onednn}), texts));
  const nlohmann::json results = compare({{{"model", model},
                                           {"texts", folder.file("texts")},
                                           {"embeddings", {folder.file("machine"), folder.file("onednn")}},
                                           {"stsb", kStsb}}},
                                         folder);
  for (const nlohmann::json& result : results) {
    MESSAGE(result.dump());
    check_result(result);
    CHECK(std::abs(result["spearman"].get<double>() - 0.8203) <= 0.0002);
  }
}

TEST_CASE("torch agreement: random models of other sizes, poolings, activations and weight types") {
  if (!have_torch()) {
    MESSAGE("not checked: torch is absent");
    return;
  }
  std::vector<std::pair<std::string, LoadOptions>> ways = {
      {"oneDNN", {.threads = 2, .products = ProductChoice::onednn}}};
  for (const std::string& isa : machine_isas()) ways.push_back({isa, {.threads = 2, .isa = isa}});
  const TemporaryFolder folder;
  std::vector<std::string> texts = random_texts(60, 30);
  texts.emplace_back();
  texts.emplace_back("the water under the gate");
  std::string lines;
  for (const std::string& text : texts) lines += text + "\n";
  folder.write("texts", lines);
  nlohmann::json jobs = nlohmann::json::array();
  std::vector<std::string> names;
  std::vector<TemporaryFolder> models;
  for (const auto& [name, options] : variants()) {
    models.push_back(write_random_model(options));
    nlohmann::json job = {{"model", models.back().path()}, {"texts", folder.file("texts")}, {"embeddings", {}}};
    if (!options.default_prompt.empty()) job["prompt"] = options.prompts.at(options.default_prompt);
    for (const auto& [way, how] : ways) {
      names.push_back(name + ", " + way);
      job["embeddings"].push_back(folder.file(std::to_string(names.size())));
      write_embeddings(folder.file(std::to_string(names.size())), encode(*load(models.back().path(), how), texts));
    }
    jobs.push_back(job);
  }
  const nlohmann::json results = compare(jobs, folder);
  REQUIRE(results.size() == names.size());
  for (std::size_t i = 0; i < names.size(); ++i) {
    INFO(names[i]);
    check_result(results[i]);
  }
}

}  // namespace tidegate::test
