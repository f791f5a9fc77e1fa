// Texts per second of the native encoder alone, with its kernels and products chosen by
// hand: one text a line in, one line (or one JSON object) out.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "runner/encoder/text_encoder.hpp"

namespace {

using namespace tidegate;

struct BenchOptions {
  std::string folder;
  std::string texts;
  std::string precision = "f32";
  std::string isa;
  std::string products;
  std::uint32_t threads = 1;
  std::size_t batch = 32;
  double seconds = 3.0;
  bool json = false;
};

struct BenchResult {
  double texts_per_second = 0;
  double tokens_per_second = 0;
  double tokens_per_text = 0;
};

std::vector<std::string> read_lines(const std::string& path) {
  std::ifstream in(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

/// Whole passes over the texts, tokenizing included, until the time is up; the best
/// pass counts, as it is the one least disturbed.
Result<BenchResult> measure(ModelRunner& runner, const std::vector<std::string>& texts, const BenchOptions& options) {
  using clock = std::chrono::steady_clock;
  BenchResult best;
  const auto begin = clock::now();
  do {
    const auto start = clock::now();
    std::uint64_t tokens = 0;
    for (std::size_t first = 0; first < texts.size(); first += options.batch) {
      const std::size_t size = std::min(options.batch, texts.size() - first);
      std::vector<PreparedInput> inputs;
      std::vector<BatchItem> batch(size);
      inputs.reserve(size);
      for (std::size_t i = 0; i < size; ++i) {
        auto prepared = runner.prepare(texts[first + i]);
        if (!prepared) return prepared.error();
        tokens += prepared->size.tokens;
        inputs.push_back(*std::move(prepared));
        batch[i].input = &inputs[i];
      }
      runner.run(batch);
      for (const BatchItem& item : batch) {
        if (!item.output) return item.output.error();
      }
    }
    const double seconds = std::chrono::duration<double>(clock::now() - start).count();
    const auto count = static_cast<double>(texts.size());
    if (count / seconds > best.texts_per_second) {
      best = {count / seconds, static_cast<double>(tokens) / seconds, static_cast<double>(tokens) / count};
    }
  } while (std::chrono::duration<double>(clock::now() - begin).count() < options.seconds);
  return best;
}

int report(const BenchOptions& options) {
  const std::vector<std::string> texts = read_lines(options.texts);
  if (texts.empty()) {
    std::fprintf(stderr, "%s: no texts\n", options.texts.c_str());
    return 1;
  }
  TextEncoderOptions encoder;
  encoder.folder = options.folder;
  encoder.threads = options.threads;
  encoder.isa = options.isa;
  for (const Precision precision : {Precision::f32, Precision::bf16, Precision::int8, Precision::automatic}) {
    if (to_string(precision) == options.precision) encoder.precision = precision;
  }
  EncoderTuning tuning;
  if (options.products == "kernels") tuning.products = ProductChoice::kernels;
  if (options.products == "onednn") tuning.products = ProductChoice::onednn;
  auto runner = TextEncoderRunner::create(encoder, tuning);
  if (!runner) {
    std::fprintf(stderr, "%s\n", runner.error().text().c_str());
    return 1;
  }
  const auto result = measure(**runner, texts, options);
  if (!result) {
    std::fprintf(stderr, "%s\n", result.error().text().c_str());
    return 1;
  }
  const char* form = options.json
                         ? "{\"texts_per_second\": %.2f, \"tokens_per_second\": %.0f, \"tokens_per_text\": %.1f}\n"
                         : "%.2f texts/s, %.0f tokens/s, %.1f tokens a text\n";
  std::printf(form, result->texts_per_second, result->tokens_per_second, result->tokens_per_text);
  if (!options.json) {
    for (const std::string& note : (*runner)->info().notes) std::printf("%s\n", note.c_str());
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  BenchOptions options;
  CLI::App app("Texts per second of the native text encoder");
  app.add_option("--model", options.folder, "sentence-transformers folder")->required();
  app.add_option("--texts", options.texts, "file, one text a line")->required();
  app.add_option("--threads", options.threads)->check(CLI::Range(1, 256));
  app.add_option("--batch", options.batch, "texts a batch")->check(CLI::PositiveNumber);
  app.add_option("--seconds", options.seconds, "time to measure");
  app.add_option("--precision", options.precision)->check(CLI::IsMember({"f32", "bf16", "int8", "auto"}));
  app.add_option("--isa", options.isa, "instruction set; default: the best this machine has");
  app.add_option("--products", options.products)->check(CLI::IsMember({"kernels", "onednn"}));
  app.add_flag("--json", options.json);
  CLI11_PARSE(app, argc, argv);
  return report(options);
}
