// StepRunner: an iterative model whose every step the test sees and controls.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "tidegate/runner.hpp"

namespace tidegate::test {

/// A text "name 5" is answered in five steps, each of which emits the chunk {step}; the end
/// holds {5}. Items whose state comes from another runner fail.
class StepRunner final : public ModelRunner {
 public:
  struct State {
    const StepRunner* home = nullptr;
    int taken = 0;
    std::shared_ptr<std::atomic<int>> alive;
    ~State() {
      if (alive) --*alive;
    }
  };
  /// Called before the default step; may throw, or answer items itself (then their output
  /// or step is set, and the default leaves them alone).
  using OnStep = std::function<void(std::span<BatchItem>)>;

  explicit StepRunner(OnStep on_step = {}, std::shared_ptr<std::atomic<int>> alive = {})
      : on_step_(std::move(on_step)), alive_(std::move(alive)) {
    info_.kind = "step";
    info_.fingerprint[0] = 2;
    info_.iterative = true;
  }

  ModelInfo& mutable_info() { return info_; }
  const ModelInfo& info() const noexcept override { return info_; }

  Result<PreparedInput> prepare(Input input) override {
    const auto* text = std::get_if<std::string>(&input);
    if (text == nullptr) return Error(ErrorCode::invalid_argument, "the step model takes text");
    return PreparedInput{std::move(input), {}, {1, 1, text->size()}};
  }

  void run(std::span<BatchItem> batch) override {
    if (on_step_) on_step_(batch);
    for (BatchItem& item : batch) {
      const bool untouched =
          !item.output && item.output.error().code() == ErrorCode::internal && item.step == StepEnd::done;
      if (untouched) step(item);
    }
  }

  static std::string name_of(const BatchItem& item) {
    const std::string& text = std::get<std::string>(item.input->input);
    return text.substr(0, text.rfind(' '));
  }
  /// Steps taken before this one.
  static int taken_by(const BatchItem& item) {
    return item.state == nullptr ? 0 : static_cast<const State*>(item.state.get())->taken;
  }

  void step(BatchItem& item) {
    if (item.state == nullptr) {
      auto state = std::make_shared<State>();
      state->home = this;
      state->alive = alive_;
      if (alive_) ++*alive_;
      item.state = state;
    }
    State& state = *static_cast<State*>(item.state.get());
    if (state.home != this) {
      item.output = Error(ErrorCode::backend_failed, "the state belongs to another runner");
      return;
    }
    const std::string& text = std::get<std::string>(item.input->input);
    const int steps = std::stoi(text.substr(text.rfind(' ') + 1));
    const float number[] = {static_cast<float>(state.taken++)};
    item.emitted = {Tensor::vector_of(number)};
    if (state.taken < steps) {
      item.step = StepEnd::proceeds;
      item.next_size = {1, 1, text.size()};
    } else {
      const float all[] = {static_cast<float>(steps)};
      item.output = std::vector{Tensor::vector_of(all)};
    }
  }

 private:
  ModelInfo info_;
  OnStep on_step_;
  std::shared_ptr<std::atomic<int>> alive_;
};

}  // namespace tidegate::test
