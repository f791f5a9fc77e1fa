// A model in memory, of any sizes, for the tests of packing.
#pragma once

#include <cstdint>
#include <cstring>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "runner/encoder/encoder_model.hpp"

namespace tidegate::test {

struct MemoryModelOptions {
  std::uint32_t hidden = 8;
  std::uint32_t intermediate = 16;
  std::uint32_t layers = 1;
  std::uint32_t vocabulary = 11;
  std::uint32_t dense = 0;  ///< width of a dense stage; 0 = none
  std::uint32_t seed = 1;
};

/// Weights in -1..1, one buffer a tensor; `values(name)` may be changed before packing.
class MemoryModel {
 public:
  explicit MemoryModel(const MemoryModelOptions& options) : state_(options.seed) {
    const std::int64_t hidden = options.hidden;
    const std::int64_t wide = options.intermediate;
    model.config = {.vocab_size = options.vocabulary,
                    .hidden_size = options.hidden,
                    .layers = options.layers,
                    .heads = 1,
                    .intermediate_size = options.intermediate,
                    .max_positions = 7,
                    .token_types = 2};
    model.max_tokens = 5;
    model.word_embeddings = view("words", {options.vocabulary, hidden});
    model.position_embeddings = view("positions", {7, hidden});
    model.token_type_embeddings = view("types", {2, hidden});
    model.embedding_norm = norm("norm", hidden);
    for (std::uint32_t i = 0; i < options.layers; ++i) {
      const std::string at = std::to_string(i) + ".";
      LayerWeights layer;
      layer.query = linear(at + "query", hidden, hidden);
      layer.key = linear(at + "key", hidden, hidden);
      layer.value = linear(at + "value", hidden, hidden);
      layer.attention_output = linear(at + "attention_output", hidden, hidden);
      layer.attention_norm = norm(at + "attention_norm", hidden);
      layer.intermediate = linear(at + "intermediate", wide, hidden);
      layer.output = linear(at + "output", hidden, wide);
      layer.output_norm = norm(at + "output_norm", hidden);
      model.layers.push_back(std::move(layer));
    }
    if (options.dense > 0) {
      DenseStage stage{linear("dense", options.dense, hidden), Activation::tanh};
      stage.linear.bias = {};
      model.stages.emplace_back(std::move(stage));
    }
    for (std::size_t i = 0; i < model.content_digest.size(); ++i) {
      model.content_digest[i] = static_cast<std::uint8_t>(i + options.seed);
    }
  }
  MemoryModel(const MemoryModel&) = delete;
  MemoryModel& operator=(const MemoryModel&) = delete;

  std::vector<float>& values(const std::string& name) {
    for (auto& [own, numbers] : storage_) {
      if (own == name) return numbers;
    }
    return storage_.front().second;
  }

  /// Uniform in -1..1, never zero.
  float next() {
    state_ = state_ * 1664525U + 1013904223U;
    return (static_cast<float>(state_ >> 8) + 0.5F) / 8388608.0F - 1.0F;
  }

  EncoderModel model;

 private:
  WeightView view(const std::string& name, Shape shape) {
    std::size_t count = 1;
    for (const std::int64_t extent : shape) count *= static_cast<std::size_t>(extent);
    std::vector<float>& numbers = storage_.emplace_back(name, std::vector<float>(count)).second;
    for (float& number : numbers) number = next();
    return {name, DataType::f32, std::move(shape), std::as_bytes(std::span<const float>(numbers))};
  }
  LinearWeights linear(const std::string& name, std::int64_t rows, std::int64_t columns) {
    return {view(name, {rows, columns}), view(name + ".bias", {rows})};
  }
  NormWeights norm(const std::string& name, std::int64_t size) {
    return {view(name + ".gamma", {size}), view(name + ".beta", {size})};
  }

  std::uint32_t state_;
  std::deque<std::pair<std::string, std::vector<float>>> storage_;
};

}  // namespace tidegate::test
