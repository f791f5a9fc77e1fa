// Wrong use of the C ABI is answered with a status: wrong handles, NULLs, struct
// sizes, calls after shutdown and in a forked child.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>

#include "stream_model.hpp"

using namespace capi_test;

namespace {

constexpr const char* kSteps = R"({"models": [{"name": "i", "kind": "synthetic", "synthetic.steps": 2}]})";
constexpr const char* kSynthetic = R"({"models": [{"name": "s", "kind": "synthetic"}]})";

template <class To, class From>
To* as(From* handle) {
  return reinterpret_cast<To*>(handle);
}

/// Calls every function that takes a runtime, model, request, queue, config or result
/// and answers the statuses seen.
std::set<tidegate_status> call_all(tidegate_runtime* runtime, tidegate_model* model, tidegate_request* request,
                                   tidegate_cq* cq, tidegate_config* config, tidegate_result* result,
                                   tidegate_stream* stream) {
  std::set<tidegate_status> seen;
  char* text = nullptr;
  tidegate_model* new_model = nullptr;
  tidegate_request* new_request = nullptr;
  tidegate_cq* new_cq = nullptr;
  tidegate_result* new_result = nullptr;
  tidegate_runtime* new_runtime = nullptr;
  tidegate_stream* new_stream = nullptr;
  tidegate_completion record{};
  std::size_t count = 0;
  auto view = initialised<tidegate_tensor_view>();
  auto timing = initialised<tidegate_timing>();
  auto table = initialised<tidegate_backend>();
  table.run_batch = [](void*, tidegate_batch*) -> tidegate_status { return TIDEGATE_OK; };
  const char* const json = R"({"name": "n", "kind": "synthetic"})";
  if (config != nullptr) seen.insert(tidegate_runtime_create(config, &new_runtime, nullptr));
  seen.insert(tidegate_runtime_drain(runtime, 0, nullptr));
  seen.insert(tidegate_runtime_shutdown(runtime, 0, nullptr));
  seen.insert(tidegate_runtime_stats_json(runtime, &text, nullptr, nullptr));
  seen.insert(tidegate_metrics_render(runtime, &text, nullptr, nullptr));
  seen.insert(tidegate_model_load(runtime, json, TIDEGATE_NUL, &new_model, nullptr));
  seen.insert(tidegate_model_get(runtime, "s", 1, &new_model, nullptr));
  seen.insert(tidegate_model_register(runtime, "h", 1, nullptr, 0, &table, &new_model, nullptr));
  seen.insert(tidegate_model_info_json(model, &text, nullptr, nullptr));
  seen.insert(tidegate_model_explain_json(model, &text, nullptr, nullptr));
  seen.insert(tidegate_cq_create(runtime, &new_cq, nullptr));
  seen.insert(tidegate_cq_drain(cq, &record, sizeof record, 1, &count));
  seen.insert(tidegate_cq_wait(cq, 0));
  seen.insert(tidegate_cq_wakeup(cq));
  seen.insert(tidegate_cq_close(cq));
  seen.insert(tidegate_submit_text(runtime, nullptr, "t", 1, nullptr, cq, 1, nullptr, nullptr, nullptr));
  seen.insert(tidegate_cancel(runtime, 1));
  seen.insert(tidegate_request_create(runtime, nullptr, &new_request, nullptr));
  seen.insert(tidegate_request_set_text(request, "t", 1, nullptr));
  seen.insert(tidegate_request_set_tensor(request, 0, &view, nullptr));
  seen.insert(tidegate_request_set_options(request, nullptr, nullptr));
  seen.insert(tidegate_submit(request, cq, 1, nullptr, nullptr, nullptr));
  seen.insert(tidegate_infer(request, &new_result, nullptr));
  seen.insert(tidegate_model_replace(runtime, json, TIDEGATE_NUL, nullptr));
  seen.insert(tidegate_model_replace_host(runtime, "h", 1, nullptr, 0, &table, nullptr));
  seen.insert(tidegate_stream_open(request, nullptr, cq, 1, &new_stream, nullptr));
  seen.insert(tidegate_stream_next(stream, &new_result, nullptr));
  seen.insert(tidegate_stream_wait(stream, 0));
  seen.insert(tidegate_stream_cancel(stream));
  seen.insert(tidegate_config_merge_json(config, "{}", 2, nullptr));
  seen.insert(tidegate_config_dump_json(config, &text, nullptr, nullptr));
  seen.insert(tidegate_result_status(result));
  seen.insert(tidegate_result_output(result, 0, &view, nullptr));
  seen.insert(tidegate_result_timing(result, &timing, nullptr));
  CHECK(tidegate_runtime_retain(runtime) == nullptr);
  CHECK(tidegate_model_retain(model) == nullptr);
  CHECK(tidegate_cq_fd(cq) == -1);
  CHECK(tidegate_result_output_count(result) == 0);
  CHECK(tidegate_result_error(result) == nullptr);
  const bool nothing = text == nullptr && new_model == nullptr && new_request == nullptr && new_cq == nullptr &&
                       new_result == nullptr && new_runtime == nullptr && new_stream == nullptr && count == 0;
  CHECK(nothing);
  return seen;
}

struct Everything {
  Runtime runtime = make_runtime(kSynthetic);
  Config config = make_config("{}");
  Queue cq = make_queue(runtime);
  Model model{};
  RequestHandle request{};
  ResultHandle result{};
  Runtime iterative = make_runtime(kSteps);
  StreamHandle stream = open_stream(iterative, "one two");

  Everything() {
    tidegate_model* new_model = nullptr;
    tidegate_request* new_request = nullptr;
    tidegate_result* new_result = nullptr;
    REQUIRE(tidegate_model_get(runtime.get(), "s", 1, &new_model, nullptr) == TIDEGATE_OK);
    model.reset(new_model);
    REQUIRE(tidegate_request_create(runtime.get(), new_model, &new_request, nullptr) == TIDEGATE_OK);
    request.reset(new_request);
    REQUIRE(tidegate_request_set_text(new_request, "hello", 5, nullptr) == TIDEGATE_OK);
    REQUIRE(tidegate_infer(new_request, &new_result, nullptr) == TIDEGATE_OK);
    result.reset(new_result);
  }
};

}  // namespace

TEST_CASE("queue 4.13/72: NULL handles are invalid, and releasing NULL does nothing") {
  CHECK(call_all(nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr) ==
        std::set<tidegate_status>{TIDEGATE_E_INVALID});
  tidegate_runtime_release(nullptr);
  tidegate_model_release(nullptr);
  tidegate_request_release(nullptr);
  tidegate_cq_release(nullptr);
  tidegate_stream_release(nullptr);
  tidegate_config_release(nullptr);
  tidegate_result_release(nullptr);
  tidegate_error_release(nullptr);
  tidegate_free(nullptr);
  CHECK(tidegate_error_code(nullptr) == TIDEGATE_OK);
  CHECK(tidegate_error_message(nullptr, nullptr)[0] == '\0');
}

TEST_CASE("misuse: a handle of another type is told apart and survives") {
  const Everything all;
  const auto seen = call_all(as<tidegate_runtime>(all.config.get()), as<tidegate_model>(all.runtime.get()),
                             as<tidegate_request>(all.cq.get()), as<tidegate_cq>(all.request.get()),
                             as<tidegate_config>(all.result.get()), as<tidegate_result>(all.model.get()),
                             as<tidegate_stream>(all.cq.get()));
  CHECK(seen == std::set<tidegate_status>{TIDEGATE_E_BAD_HANDLE});
  // Releasing through the wrong function leaves the object alone.
  tidegate_runtime_release(as<tidegate_runtime>(all.config.get()));
  tidegate_cq_release(as<tidegate_cq>(all.request.get()));
  tidegate_error_release(as<tidegate_error>(all.result.get()));
  tidegate_stream_release(as<tidegate_stream>(all.cq.get()));
  tidegate_result_release(as<tidegate_result>(all.stream.get()));
  CHECK(tidegate_result_status(all.result.get()) == TIDEGATE_OK);
  CHECK(tidegate_config_merge_json(all.config.get(), "{}", 2, nullptr) == TIDEGATE_OK);
}

TEST_CASE("misuse: output pointers that are NULL are refused") {
  const Everything all;
  CHECK(tidegate_config_create(nullptr, nullptr) == TIDEGATE_E_INVALID);
  CHECK(tidegate_config_dump_json(all.config.get(), nullptr, nullptr, nullptr) == TIDEGATE_E_INVALID);
  CHECK(tidegate_runtime_create(nullptr, nullptr, nullptr) == TIDEGATE_E_INVALID);
  CHECK(tidegate_cq_create(all.runtime.get(), nullptr, nullptr) == TIDEGATE_E_INVALID);
  CHECK(tidegate_model_get(all.runtime.get(), "s", 1, nullptr, nullptr) == TIDEGATE_E_INVALID);
  CHECK(tidegate_infer(all.request.get(), nullptr, nullptr) == TIDEGATE_E_INVALID);
  CHECK(tidegate_stream_open(all.request.get(), nullptr, nullptr, 1, nullptr, nullptr) == TIDEGATE_E_INVALID);
  CHECK(tidegate_stream_next(all.stream.get(), nullptr, nullptr) == TIDEGATE_E_INVALID);
  tidegate_completion record{};
  std::size_t count = 0;
  CHECK(tidegate_cq_drain(all.cq.get(), nullptr, sizeof record, 1, &count) == TIDEGATE_E_INVALID);
  CHECK(tidegate_cq_drain(all.cq.get(), &record, sizeof record, 0, &count) == TIDEGATE_E_INVALID);
  CHECK(tidegate_cq_drain(all.cq.get(), &record, sizeof record, 1, nullptr) == TIDEGATE_E_INVALID);
  CHECK(tidegate_cq_wait(all.cq.get(), -1) == TIDEGATE_E_INVALID);
  CHECK(tidegate_runtime_drain(all.runtime.get(), -1, nullptr) == TIDEGATE_E_INVALID);
  CHECK(tidegate_request_set_text(all.request.get(), nullptr, 3, nullptr) == TIDEGATE_E_INVALID);
  CHECK(tidegate_request_set_text(all.request.get(), "x", SIZE_MAX - 1, nullptr) == TIDEGATE_E_INVALID);
}

TEST_CASE("queue 4.13/72: struct sizes of zero, of garbage and of a newer host") {
  const Everything all;
  const auto with = [&](const tidegate_request_options* options) {
    return tidegate_request_set_options(all.request.get(), options, nullptr);
  };
  auto options = initialised<tidegate_request_options>();
  CHECK(with(&options) == TIDEGATE_OK);
  options.struct_size = 0;
  CHECK(with(&options) == TIDEGATE_E_INVALID);
  options.struct_size = UINT32_MAX;
  CHECK(with(&options) == TIDEGATE_E_INVALID);
  // An older host knows fewer fields: the rest counts as zero, whatever lies there.
  options.struct_size = 16;
  options.cache = 99;
  CHECK(with(&options) == TIDEGATE_OK);
  struct Newer {
    tidegate_request_options known;
    std::uint64_t later;
  } newer{};
  newer.known.struct_size = sizeof newer;
  CHECK(with(&newer.known) == TIDEGATE_OK);
  newer.later = 1;
  CHECK(with(&newer.known) == TIDEGATE_E_UNSUPPORTED);

  // Outputs: nothing beyond the host's size is written, and what the library does
  // not know is zero.
  struct Output {
    tidegate_timing timing;
    std::uint64_t later;
  } output;
  std::memset(&output, 0xff, sizeof output);
  output.timing.struct_size = 16;
  CHECK(tidegate_result_timing(all.result.get(), &output.timing, nullptr) == TIDEGATE_OK);
  CHECK(output.timing.struct_size == 16);
  CHECK(output.timing.total_ns == -1);
  output.timing.struct_size = sizeof output;
  CHECK(tidegate_result_timing(all.result.get(), &output.timing, nullptr) == TIDEGATE_OK);
  CHECK(output.timing.total_ns >= 0);
  CHECK(output.timing.dispatch_ns >= 0);
  CHECK(output.later == 0);
  output.timing.struct_size = 0;
  CHECK(tidegate_result_timing(all.result.get(), &output.timing, nullptr) == TIDEGATE_E_INVALID);
}

TEST_CASE("misuse: options out of range are refused") {
  const Everything all;
  const auto refused = [&](auto change) {
    auto options = initialised<tidegate_request_options>();
    change(options);
    return tidegate_submit_text(all.runtime.get(), nullptr, "t", 1, &options, all.cq.get(), 1, nullptr, nullptr,
                                nullptr);
  };
  CHECK(refused([](auto& o) { o.flags = 2; }) == TIDEGATE_E_UNSUPPORTED);
  CHECK(refused([](auto& o) { o.priority = 4; }) == TIDEGATE_E_INVALID);
  CHECK(refused([](auto& o) { o.priority = -1; }) == TIDEGATE_E_INVALID);
  CHECK(refused([](auto& o) { o.tenant_length = 1; }) == TIDEGATE_E_INVALID);
  const std::string long_name(257, 't');
  CHECK(refused([&](auto& o) {
          o.tenant = long_name.data();
          o.tenant_length = long_name.size();
        }) == TIDEGATE_E_INVALID);
  CHECK(refused([](auto& o) { o.cache = 5; }) == TIDEGATE_E_INVALID);
  CHECK(refused([](auto& o) { o.cache = -1; }) == TIDEGATE_E_INVALID);
  CHECK(refused([](auto& o) { o.timeout_ns = -1; }) == TIDEGATE_E_INVALID);
  CHECK(refused([](auto& o) { o.deadline_ns = -1; }) == TIDEGATE_E_INVALID);
  CHECK(refused([](auto& o) { o.timeout_ns = o.deadline_ns = 5; }) == TIDEGATE_E_INVALID);
  const Everything other;
  CHECK(tidegate_submit_text(all.runtime.get(), other.model.get(), "t", 1, nullptr, all.cq.get(), 1, nullptr, nullptr,
                             nullptr) == TIDEGATE_E_INVALID);
  CHECK(submit(all.runtime, other.cq, "t", 1) == TIDEGATE_E_INVALID);
  tidegate_stream* stream = nullptr;
  CHECK(tidegate_stream_open(all.request.get(), nullptr, other.cq.get(), 1, &stream, nullptr) == TIDEGATE_E_INVALID);
  tidegate_completion record{};
  std::size_t count = 0;
  CHECK(tidegate_cq_drain(all.cq.get(), &record, sizeof record, 1, &count) == TIDEGATE_EMPTY);
}

TEST_CASE("misuse: after shutdown calls are refused, and handles can still be read and released") {
  const Everything all;
  CHECK(tidegate_runtime_shutdown(all.runtime.get(), TIDEGATE_FOREVER, nullptr) == TIDEGATE_OK);
  CHECK(tidegate_runtime_drain(all.runtime.get(), 0, nullptr) == TIDEGATE_OK);
  CHECK(submit(all.runtime, all.cq, "t", 1) == TIDEGATE_E_SHUTTING_DOWN);
  CHECK(tidegate_cancel(all.runtime.get(), 1) == TIDEGATE_E_SHUTTING_DOWN);
  tidegate_result* result = nullptr;
  char* text = nullptr;
  tidegate_error* err = nullptr;
  CHECK(tidegate_infer(all.request.get(), &result, &err) == TIDEGATE_E_SHUTTING_DOWN);
  CHECK(take_text(err) == "the runtime has been shut down");
  CHECK(tidegate_runtime_stats_json(all.runtime.get(), &text, nullptr, nullptr) == TIDEGATE_E_SHUTTING_DOWN);
  CHECK(tidegate_model_info_json(all.model.get(), &text, nullptr, nullptr) == TIDEGATE_E_SHUTTING_DOWN);
  CHECK(tidegate_model_explain_json(all.model.get(), &text, nullptr, nullptr) == TIDEGATE_E_SHUTTING_DOWN);
  CHECK(tidegate_cq_close(all.cq.get()) == TIDEGATE_OK);
  CHECK(first_number(all.result.get()) == first_number(all.result.get()));
}

TEST_CASE("misuse: a model that is not there is not found") {
  const Everything all;
  tidegate_model* model = nullptr;
  CHECK(tidegate_model_get(all.runtime.get(), "nobody", 6, &model, nullptr) == TIDEGATE_E_NOT_FOUND);
  CHECK(tidegate_model_load(all.runtime.get(), R"({"name": "s", "kind": "synthetic"})", TIDEGATE_NUL, nullptr,
                            nullptr) == TIDEGATE_E_EXISTS);
  tidegate_error* err = nullptr;
  CHECK(tidegate_model_load(all.runtime.get(), R"({"name": "e", "folder": "/no/such/folder"})", TIDEGATE_NUL, &model,
                            &err) < 0);
  CHECK(model == nullptr);
  CHECK_FALSE(take_text(err).empty());
}

TEST_CASE("queue 4.13/71: in a forked child inherited handles answer FORKED and a new runtime works") {
  const Everything all;
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const auto seen = call_all(all.runtime.get(), all.model.get(), all.request.get(), all.cq.get(), all.config.get(),
                               all.result.get(), all.stream.get());
    tidegate_stream_release(all.stream.get());
    bool good = seen == std::set<tidegate_status>{TIDEGATE_E_FORKED};
    tidegate_cq_release(all.cq.get());
    tidegate_runtime_release(all.runtime.get());
#if !defined(__SANITIZE_THREAD__)  // ThreadSanitizer starts no threads in a child of a threaded parent
    tidegate_runtime* runtime = nullptr;
    good = good && tidegate_runtime_create(nullptr, &runtime, nullptr) == TIDEGATE_OK;
    good = good && tidegate_runtime_shutdown(runtime, 0, nullptr) == TIDEGATE_OK;
    tidegate_runtime_release(runtime);
#endif
    ::_exit(good ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  // The parent goes on as before.
  CHECK(submit(all.runtime, all.cq, "t", 1) == TIDEGATE_OK);
  release(next(all.cq));
}

TEST_CASE("misuse: no signal handler is installed, and library threads take no signals") {
  struct sigaction before[32];
  for (int number = 1; number < 32; ++number) ::sigaction(number, nullptr, &before[number]);
  const auto tasks = [] {
    std::set<std::string> found;
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) found.insert(task.path().string());
    return found;
  };
  const std::set<std::string> own = tasks();
  const Everything all;
  int seen = 0;
  for (const std::string& task : tasks()) {
    if (own.contains(task)) continue;
    std::ifstream status(task + "/status");
    for (std::string line; std::getline(status, line);) {
      if (!line.starts_with("SigBlk:")) continue;
      const std::uint64_t blocked = std::stoull(line.substr(7), nullptr, 16);
      CHECK((blocked >> (SIGTERM - 1) & 1) == 1);
      CHECK((blocked >> (SIGINT - 1) & 1) == 1);
      ++seen;
    }
  }
  CHECK(seen > 0);
  for (int number = 1; number < 32; ++number) {
    struct sigaction after;
    ::sigaction(number, nullptr, &after);
    const bool unchanged = after.sa_handler == before[number].sa_handler;
    CHECK(unchanged);
  }
}
