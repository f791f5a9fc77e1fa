// What the benchmarks that put load on an encoder have in common.
#pragma once

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstddef>
#include <string>
#include <thread>
#include <vector>

#include "mixed_texts.hpp"
#include "tidegate/engine.hpp"
#include "tidegate/modules.hpp"

namespace tidegate::load {

/// The encoder and the texts it gets.
struct EncoderLoad {
  std::string model, input, precision = "int8";
  std::uint32_t threads = std::max(1U, std::thread::hardware_concurrency());
  double mean_tokens = 20;

  void add_to(CLI::App& app) {
    app.add_option("--model", model, "sentence-transformers folder")->required();
    app.add_option("--input", input, "Sentences, one a line, to make texts of; - for standard input")->required();
    app.add_option("--precision", precision, "Number format of the products")
        ->check(CLI::IsMember({"f32", "bf16", "int8", "auto"}))
        ->capture_default_str();
    app.add_option("--threads", threads, "Cores one batch may use")->check(CLI::Range(1, 256));
    app.add_option("--mean-tokens", mean_tokens, "Of a text")->check(CLI::Range(3.0, 200.0))->capture_default_str();
  }

  /// Errors: those of load_text_encoder.
  [[nodiscard]] Result<std::vector<Replica>> replicas() const {
    TextEncoderOptions options;
    options.folder = model;
    options.precision = precision_of(precision).value_or(Precision::f32);  // the command line has checked the name
    options.threads = threads;
    auto runner = load_text_encoder(options);
    if (!runner) return std::move(runner).error();
    std::vector<Replica> one;
    one.push_back({*std::move(runner), {}});
    return one;
  }

  /// Errors: those of read_sentences, load_tokenizer and make_mixed_texts.
  [[nodiscard]] Result<MixedTexts> texts(std::size_t count) const {
    const auto sentences = read_sentences(input);
    if (!sentences) return sentences.error();
    const auto tokenizer = load_tokenizer(model);
    if (!tokenizer) return tokenizer.error();
    return make_mixed_texts(*sentences, **tokenizer, count, mean_tokens, 1);
  }
};

/// The value such that a part `q` of the others are smaller; `values` is not empty.
inline double quantile(std::vector<double> values, double q) {
  const auto at = static_cast<std::ptrdiff_t>(q * static_cast<double>(values.size() - 1) + 0.5);
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[static_cast<std::size_t>(at)];
}

/// The exit code of a program that ended so.
inline int exit_code(const char* program, const Result<int>& ended) {
  if (!ended) fmt::print(stderr, "{}: {}\n", program, ended.error().text());
  return ended ? *ended : 1;
}

}  // namespace tidegate::load
