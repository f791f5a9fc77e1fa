// An iterative model of the program's, and a consumer of its streams.
#pragma once

#include <atomic>
#include <string>

#include "c_api.hpp"

namespace capi_test {

using StreamHandle = Owned<tidegate_stream, tidegate_stream_release>;

inline tidegate_tensor_view view_of(const float* numbers, const std::int64_t* count) {
  auto view = initialised<tidegate_tensor_view>();
  view.dtype = TIDEGATE_DTYPE_F32;
  view.rank = 1;
  view.shape = count;
  view.data = numbers;
  view.bytes = static_cast<std::uint64_t>(*count) * sizeof(float);
  return view;
}

/// A text "name 5" is answered in five steps, each of which emits the chunk {step, ...} of `width`
/// numbers; the end holds {5}. Its state is the number of steps taken.
struct StepModel {
  std::int64_t width = 1;
  std::function<void(const std::string&)> before_step = [](const std::string&) {};
  std::function<void()> destroyed = [] {};
  std::atomic<int> states{0};  // handed in and not released
  std::atomic<int> steps{0};
  float answer_offset = 0;  // tells versions apart

  static tidegate_status run_batch(void* ctx, tidegate_batch* batch) {
    for (std::uint32_t i = 0; i < tidegate_batch_size(batch); ++i) static_cast<StepModel*>(ctx)->step(batch, i);
    return TIDEGATE_OK;
  }
  static void destroy(void* ctx) { static_cast<StepModel*>(ctx)->destroyed(); }
  static void release_state(void* ctx, void* state) {
    --static_cast<StepModel*>(ctx)->states;
    delete static_cast<int*>(state);
  }

  void step(tidegate_batch* batch, std::uint32_t item) {
    const std::string text = tidegate_batch_text(batch, item, nullptr);
    before_step(text);
    ++steps;
    auto* state = static_cast<int*>(tidegate_batch_state(batch, item));
    const int taken = state == nullptr ? 0 : *state;
    std::vector<float> chunk(static_cast<std::size_t>(width), static_cast<float>(taken) + answer_offset);
    const auto view = view_of(chunk.data(), &width);
    (void)tidegate_batch_emit(batch, item, &view, 1);
    const int wanted = std::stoi(text.substr(text.rfind(' ') + 1));
    if (taken + 1 == wanted) {
      const float number = static_cast<float>(wanted) + answer_offset;
      const std::int64_t one = 1;
      const auto end = view_of(&number, &one);
      (void)tidegate_batch_answer(batch, item, &end, 1);
      return;
    }
    if (state == nullptr) {
      state = new int(0);
      ++states;
    }
    *state = taken + 1;
    (void)tidegate_batch_proceed(batch, item, state, nullptr);
  }

  tidegate_backend table() {
    auto result = initialised<tidegate_backend>();
    result.ctx = this;
    result.run_batch = &StepModel::run_batch;
    result.destroy = &StepModel::destroy;
    result.iterative = 1;
    result.release_state = &StepModel::release_state;
    return result;
  }
};

inline tidegate_status add_steps(const Runtime& runtime, StepModel& model, const char* json = nullptr) {
  const tidegate_backend table = model.table();
  return tidegate_model_register(runtime.get(), "step", 4, json, TIDEGATE_NUL, &table, nullptr, nullptr);
}

inline RequestHandle make_request(const Runtime& runtime, const std::string& text,
                                  const tidegate_request_options* options = nullptr) {
  tidegate_request* request = nullptr;
  REQUIRE(tidegate_request_create(runtime.get(), nullptr, &request, nullptr) == TIDEGATE_OK);
  REQUIRE(tidegate_request_set_text(request, text.data(), text.size(), nullptr) == TIDEGATE_OK);
  REQUIRE(tidegate_request_set_options(request, options, nullptr) == TIDEGATE_OK);
  return RequestHandle(request);
}

inline StreamHandle open_stream(const Runtime& runtime, const std::string& text, tidegate_cq* cq = nullptr,
                                std::uint64_t tag = 0, std::uint32_t chunks = 0, std::uint64_t bytes = 0) {
  const RequestHandle request = make_request(runtime, text);
  auto options = initialised<tidegate_stream_options>();
  options.buffer_chunks = chunks;
  options.buffer_bytes = bytes;
  tidegate_stream* stream = nullptr;
  tidegate_error* err = nullptr;
  const tidegate_status status = tidegate_stream_open(request.get(), &options, cq, tag, &stream, &err);
  INFO(take_text(err));
  REQUIRE(status == TIDEGATE_OK);
  return StreamHandle(stream);
}

/// What a stream has given. Fails the test case where chunks are out of order or something follows the end.
struct Given {
  int chunks = 0;
  int ends = 0;
  tidegate_status end = TIDEGATE_OK;
  std::string why{};
  float answer = -1;

  /// Takes until EMPTY or the end, and answers which.
  tidegate_status take(tidegate_stream* stream) {
    for (;;) {
      tidegate_result* raw = nullptr;
      const tidegate_status status = tidegate_stream_next(stream, &raw, nullptr);
      const ResultHandle item(raw);
      if (status == TIDEGATE_OK) {
        CHECK(ends == 0);
        CHECK(tidegate_result_status(raw) == TIDEGATE_OK);
        CHECK(first_number(raw) == static_cast<float>(chunks));
        ++chunks;
        continue;
      }
      if (status == TIDEGATE_DONE) {
        ++ends;
        end = tidegate_result_status(raw);
        why = tidegate_error_message(tidegate_result_error(raw), nullptr);
        CHECK(tidegate_error_code(tidegate_result_error(raw)) == end);
        if (end == TIDEGATE_OK && tidegate_result_output_count(raw) > 0) answer = first_number(raw);
      } else {
        CHECK(raw == nullptr);
      }
      return status;
    }
  }

  /// Takes until the end.
  void take_all(tidegate_stream* stream) {
    while (take(stream) == TIDEGATE_EMPTY) REQUIRE(tidegate_stream_wait(stream, TIDEGATE_FOREVER) == TIDEGATE_OK);
  }
};

}  // namespace capi_test
