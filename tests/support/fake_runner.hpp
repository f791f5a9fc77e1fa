// FakeRunner: a model whose every batch the test sees and controls.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tidegate/runner.hpp"

namespace tidegate::test {

/// Answers each text with one f32 vector: {length, first byte}. Records batches.
class FakeRunner final : public ModelRunner {
 public:
  struct Log {
    std::vector<std::vector<std::string>> batches;
  };

  explicit FakeRunner(std::shared_ptr<Log> log = {}, std::function<void(std::span<BatchItem>)> on_run = {})
      : log_(std::move(log)), on_run_(std::move(on_run)) {
    info_.kind = "fake";
    info_.fingerprint[0] = 1;
  }

  ModelInfo& mutable_info() { return info_; }
  const ModelInfo& info() const noexcept override { return info_; }

  Result<PreparedInput> prepare(Input input) override {
    const auto* text = std::get_if<std::string>(&input);
    if (text == nullptr) return Error(ErrorCode::invalid_argument, "the fake model takes text");
    ItemSize size{1, std::max<std::size_t>(1, text->size()), text->size()};
    return PreparedInput{std::move(input), {}, size};
  }

  void run(std::span<BatchItem> batch) override {
    if (log_ != nullptr) {
      auto& seen = log_->batches.emplace_back();
      for (const BatchItem& item : batch) seen.push_back(std::get<std::string>(item.input->input));
    }
    if (on_run_) return on_run_(batch);
    answer(batch);
  }

  static void answer(std::span<BatchItem> batch) {
    for (BatchItem& item : batch)
      item.output = std::vector<Tensor>{answer_to(std::get<std::string>(item.input->input))};
  }

  static Tensor answer_to(const std::string& text) {
    const float values[] = {static_cast<float>(text.size()), text.empty() ? 0.0F : static_cast<float>(text[0])};
    return Tensor::vector_of(values);
  }

 private:
  ModelInfo info_;
  std::shared_ptr<Log> log_;
  std::function<void(std::span<BatchItem>)> on_run_;
};

}  // namespace tidegate::test
