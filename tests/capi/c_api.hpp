// Owners for the C ABI's handles, and a model whose batches the test holds back.
#pragma once

#include <doctest/doctest.h>
#include <tidegate/tidegate.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace capi_test {

template <class T, void (*kRelease)(T*)>
struct Releaser {
  void operator()(T* object) const { kRelease(object); }
};
template <class T, void (*kRelease)(T*)>
using Owned = std::unique_ptr<T, Releaser<T, kRelease>>;

/// Waits for the end of the engine: host models of the tests live on the stack.
inline void shut_down_and_release(tidegate_runtime* runtime) {
  (void)tidegate_runtime_shutdown(runtime, TIDEGATE_FOREVER, nullptr);
  tidegate_runtime_release(runtime);
}

using Runtime = Owned<tidegate_runtime, shut_down_and_release>;
using Config = Owned<tidegate_config, tidegate_config_release>;
using Model = Owned<tidegate_model, tidegate_model_release>;
using Queue = Owned<tidegate_cq, tidegate_cq_release>;
using RequestHandle = Owned<tidegate_request, tidegate_request_release>;
using ResultHandle = Owned<tidegate_result, tidegate_result_release>;
using ErrorHandle = Owned<tidegate_error, tidegate_error_release>;

/// The text of an error, which is released.
inline std::string take_text(tidegate_error* error) {
  const ErrorHandle owned(error);
  return tidegate_error_message(owned.get(), nullptr);
}

inline Config make_config(const std::string& json) {
  tidegate_config* config = nullptr;
  REQUIRE(tidegate_config_create(&config, nullptr) == TIDEGATE_OK);
  tidegate_error* err = nullptr;
  const tidegate_status status = tidegate_config_merge_json(config, json.data(), json.size(), &err);
  INFO(take_text(err));
  REQUIRE(status == TIDEGATE_OK);
  return Config(config);
}

inline Runtime make_runtime(const std::string& json = "{}") {
  const Config config = make_config(json);
  tidegate_runtime* runtime = nullptr;
  tidegate_error* err = nullptr;
  const tidegate_status status = tidegate_runtime_create(config.get(), &runtime, &err);
  INFO(take_text(err));
  REQUIRE(status == TIDEGATE_OK);
  return Runtime(runtime);
}

inline Queue make_queue(const Runtime& runtime) {
  tidegate_cq* cq = nullptr;
  REQUIRE(tidegate_cq_create(runtime.get(), &cq, nullptr) == TIDEGATE_OK);
  return Queue(cq);
}

template <class T>
T initialised() {
  T value;
  TIDEGATE_INIT(&value);
  return value;
}

inline tidegate_status submit(const Runtime& runtime, const Queue& cq, const std::string& text, std::uint64_t tag,
                              std::uint64_t* id = nullptr, const tidegate_request_options* options = nullptr) {
  return tidegate_submit_text(runtime.get(), nullptr, text.data(), text.size(), options, cq.get(), tag, id, nullptr,
                              nullptr);
}

/// Waits for one record and takes it.
inline tidegate_completion next(const Queue& cq) {
  tidegate_completion record{};
  std::size_t count = 0;
  while (tidegate_cq_drain(cq.get(), &record, sizeof record, 1, &count) == TIDEGATE_EMPTY) {
    (void)tidegate_cq_wait(cq.get(), TIDEGATE_FOREVER);
  }
  REQUIRE(count == 1);
  return record;
}

inline void release(const tidegate_completion& record) {
  tidegate_result_release(record.result);
  tidegate_error_release(record.error);
}

/// Closed until opened; a host model that waits at it holds its batch back.
class Gate {
 public:
  void open() {
    const std::scoped_lock lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void pass() {
    std::unique_lock lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
  }
  /// Returns once `count` batches have come to the gate.
  void await(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return waiting_ >= count; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
  int waiting_ = 0;
};

/// A host model made of a C++ function.
struct HostModel {
  std::function<tidegate_status(tidegate_batch*)> run;
  std::function<void()> destroyed = [] {};

  static tidegate_status run_batch(void* ctx, tidegate_batch* batch) {
    return static_cast<HostModel*>(ctx)->run(batch);
  }
  static void destroy(void* ctx) { static_cast<HostModel*>(ctx)->destroyed(); }

  tidegate_backend table() {
    auto result = initialised<tidegate_backend>();
    result.ctx = this;
    result.run_batch = &HostModel::run_batch;
    result.destroy = &HostModel::destroy;
    return result;
  }
};

inline tidegate_status add_host(const Runtime& runtime, HostModel& model, const char* json = nullptr,
                                tidegate_error** err = nullptr) {
  const tidegate_backend table = model.table();
  return tidegate_model_register(runtime.get(), "host", 4, json, TIDEGATE_NUL, &table, nullptr, err);
}

/// Answers item `index` with its text's length.
inline void answer_length(tidegate_batch* batch, std::uint32_t index) {
  std::size_t length = 0;
  REQUIRE(tidegate_batch_text(batch, index, &length) != nullptr);
  const auto value = static_cast<float>(length);
  const std::int64_t shape[1] = {1};
  auto view = initialised<tidegate_tensor_view>();
  view.dtype = TIDEGATE_DTYPE_F32;
  view.rank = 1;
  view.shape = shape;
  view.data = &value;
  view.bytes = sizeof value;
  REQUIRE(tidegate_batch_answer(batch, index, &view, 1) == TIDEGATE_OK);
}

inline tidegate_status answer_all(tidegate_batch* batch) {
  for (std::uint32_t i = 0; i < tidegate_batch_size(batch); ++i) answer_length(batch, i);
  return TIDEGATE_OK;
}

/// Answers every batch once the gate is open.
inline HostModel gated(Gate& gate) {
  return {[&gate](tidegate_batch* batch) {
    gate.pass();
    return answer_all(batch);
  }};
}

inline float first_number(const tidegate_result* result) {
  auto view = initialised<tidegate_tensor_view>();
  REQUIRE(tidegate_result_output(result, 0, &view, nullptr) == TIDEGATE_OK);
  REQUIRE(view.bytes >= sizeof(float));
  return *static_cast<const float*>(view.data);
}

}  // namespace capi_test
