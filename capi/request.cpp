// Requests: build, submit, cancel, infer.
#include "request.hpp"

#include <vector>

#include "arguments.hpp"
#include "tensor_view.hpp"

using namespace tidegate::capi;  // NOLINT: the C functions below are the API of this namespace
using tidegate::CacheMode;
using tidegate::Engine;
using tidegate::Error;
using tidegate::ErrorCode;
using tidegate::Input;
using tidegate::Response;
using tidegate::Result;
using tidegate::Tensor;

namespace tidegate::capi {
namespace {

Priority priority_of(tidegate_priority priority) noexcept {
  switch (priority) {
    case TIDEGATE_PRIORITY_CRITICAL: return Priority::critical;
    case TIDEGATE_PRIORITY_BATCH: return Priority::batch;
    default: return Priority::interactive;
  }
}

}  // namespace

RequestOptions engine_options(const HostOptions& wishes, const Clock& clock) {
  const tidegate_request_options& options = wishes.given;
  RequestOptions result;
  result.priority = priority_of(options.priority);
  result.tenant = wishes.tenant;
  result.ordering_key = wishes.ordering_key;
  result.cache_tag = wishes.cache_tag;
  if (options.deadline_ns > 0) result.deadline = TimePoint(Duration(options.deadline_ns));
  if (options.timeout_ns > 0) {
    const TimePoint now = clock.now();
    const Duration timeout(options.timeout_ns);
    if (timeout < kNoDeadline - now) result.deadline = now + timeout;
  }
  if (options.admit_timeout_ns > 0) {
    const TimePoint now = clock.now();
    const Duration wait(options.admit_timeout_ns);
    result.admit_until = wait < kNoDeadline - now ? now + wait : kNoDeadline;
  }
  if (options.cache == TIDEGATE_CACHE_REFRESH) result.cache = CacheMode::refresh;
  if (options.cache == TIDEGATE_CACHE_BYPASS) result.cache = CacheMode::bypass;
  if (options.cache == TIDEGATE_CACHE_SIMILAR) result.cache = CacheMode::similar;
  result.similar_within = wishes.similar_within;
  if (options.version == TIDEGATE_MODEL_VERSION_PINNED) result.version = Version::pinned;
  return result;
}

}  // namespace tidegate::capi

Result<Input> tidegate_request::input() const {
  if (has_text) return Input(text);
  if (tensors.empty()) return Error(ErrorCode::invalid_argument, "the request holds neither a text nor tensors");
  std::vector<Tensor> values;
  for (const std::optional<Tensor>& tensor : tensors) {
    if (!tensor) return Error(ErrorCode::invalid_argument, "the request's tensors leave an index out");
    values.push_back(*tensor);
  }
  return Input(std::move(values));
}

namespace {

constexpr std::uint32_t kMaxInputs = 64;
constexpr std::size_t kMaxName = 256;  // bytes
constexpr std::size_t kMaxWithin = 4096;

/// The end of a submitted request: runs once, on the engine's completion thread.
/// Three words, so that it needs no memory of its own.
struct Completion {
  std::shared_ptr<RequestTable> requests;
  std::uint64_t id;

  void operator()(Result<Response> outcome) noexcept {
    auto finished = requests->finish(id);
    if (!finished) return;
    tidegate_result& answer = *finished->answer;
    if (outcome) {
      answer.response = std::move(*outcome);
    } else {
      answer.status = static_cast<tidegate_status>(outcome.error().code());
      answer.error = make_error(outcome.error());
    }
    answer.done_ns = tidegate_clock_now_ns();
    finished->queue->push(std::move(finished->answer));
  }
};

/// What one submit hands in, besides the input.
struct Submit {
  Runtime& runtime;
  const std::string& model;
  const HostOptions& options;
  const tidegate_cq* cq;
  std::uint64_t tag;
};

/// A copy of a short text.
Result<std::string> read_name(const char* text, std::size_t length, const char* noun, std::size_t most = kMaxName) {
  const auto name = text_argument(text, length, noun);
  if (!name) return name.error();
  if (name->size() <= most) return std::string(*name);
  return Error(ErrorCode::invalid_argument,
               noun + (" has " + std::to_string(name->size())) + " bytes; it may have " + std::to_string(most));
}

Result<HostOptions> read_options(const tidegate_request_options* given) {
  if (given == nullptr) return HostOptions{};
  const auto options = read_struct(given, "options");
  if (!options) return options.error();
  if ((options->flags & ~static_cast<std::uint32_t>(TIDEGATE_MAY_COMPLETE_INLINE)) != 0) {
    return Error(ErrorCode::unsupported, "options set a flag this library does not know");
  }
  if (options->cache < 0 || options->cache > TIDEGATE_CACHE_SIMILAR) {
    return Error(ErrorCode::invalid_argument, "options.cache is none of TIDEGATE_CACHE_*");
  }
  if (options->priority < 0 || options->priority > TIDEGATE_PRIORITY_BATCH) {
    return Error(ErrorCode::invalid_argument, "options.priority is none of TIDEGATE_PRIORITY_*");
  }
  if (options->version < 0 || options->version > TIDEGATE_MODEL_VERSION_PINNED) {
    return Error(ErrorCode::invalid_argument, "options.version is none of TIDEGATE_MODEL_VERSION_*");
  }
  if (options->reserved != 0) return Error(ErrorCode::unsupported, "options.reserved is not 0");
  if (options->timeout_ns < 0 || options->deadline_ns < 0 || options->admit_timeout_ns < 0) {
    return Error(ErrorCode::invalid_argument, "options hold a negative time");
  }
  if (options->timeout_ns > 0 && options->deadline_ns > 0) {
    return Error(ErrorCode::invalid_argument, "options set both timeout_ns and deadline_ns");
  }
  auto tenant = read_name(options->tenant, options->tenant_length, "options.tenant");
  if (!tenant) return tenant.error();
  auto key = read_name(options->ordering_key, options->ordering_key_length, "options.ordering_key");
  if (!key) return key.error();
  auto cache_tag = read_name(options->cache_tag, options->cache_tag_length, "options.cache_tag");
  if (!cache_tag) return cache_tag.error();
  auto within =
      read_name(options->similar_within, options->similar_within_length, "options.similar_within", kMaxWithin);
  if (!within) return within.error();
  return HostOptions{*options, *std::move(tenant), *std::move(key), *std::move(cache_tag), *std::move(within)};
}

/// The model's name; empty for NULL. Errors: invalid_argument (another runtime's).
Result<std::string> name_of(const tidegate_model* model, const Runtime* runtime) {
  if (model == nullptr) return std::string();
  if (auto ok = check(model, "model"); !ok) return ok.error();
  if (model->runtime.get() != runtime) {
    return Error(ErrorCode::invalid_argument, "the model belongs to another runtime");
  }
  return model->name;
}

/// Puts the request in flight and answers its id.
Result<std::uint64_t> start(Engine& engine, const Submit& submit, tidegate::Request request) {
  auto answer = std::make_unique<tidegate_result>();
  answer->tag = submit.tag;
  const std::shared_ptr<RequestTable>& requests = submit.runtime.requests();
  auto id = requests->begin(submit.cq->queue, std::move(answer));
  if (!id) return id;
  Result<tidegate::RequestId> accepted = Error(ErrorCode::internal, "the engine threw");
  try {
    accepted = engine.infer(std::move(request), Completion{requests, *id});
  } catch (...) {
    requests->abandon(*id);
    throw;
  }
  if (!accepted) {
    requests->abandon(*id);
    return accepted.error();
  }
  if (requests->bind(*id, *accepted)) (void)engine.cancel(*accepted);
  return id;
}

Result<tidegate_status> submit_input(const Submit& submit, Input input, std::uint64_t* id, tidegate_result** result) {
  if (id != nullptr) *id = 0;
  if (result != nullptr) *result = nullptr;
  if (auto ok = check(submit.cq, "cq"); !ok) return ok.error();
  if (submit.cq->runtime.get() != &submit.runtime) {
    return Error(ErrorCode::invalid_argument, "the completion queue belongs to another runtime");
  }
  const bool may_be_done = (submit.options.given.flags & TIDEGATE_MAY_COMPLETE_INLINE) != 0;
  if (may_be_done && result == nullptr) {
    return Error(ErrorCode::invalid_argument, "result is NULL, but the request may complete inline");
  }
  auto engine = submit.runtime.use();
  if (!engine) return engine.error();
  tidegate::Request request{submit.model, std::move(input), engine_options(submit.options, submit.runtime.clock())};
  if (may_be_done && request.options.cache == CacheMode::use && !submit.cq->queue->closed()) {
    if (auto held = (*engine)->try_cached(request)) {
      *result = new tidegate_result(std::move(*held));
      return TIDEGATE_DONE;
    }
  }
  auto started = start(**engine, submit, std::move(request));
  if (!started) return started.error();
  if (id != nullptr) *id = *started;
  return TIDEGATE_OK;
}

/// Waits for the answer. Without a deadline the batch that the request starts may run on this thread; with one
/// it runs on a library thread, so that the call returns in time whatever the model does.
Result<Response> run(const tidegate_request& request, Input input) {
  Runtime& runtime = *request.runtime;
  tidegate::Request asked{request.model, std::move(input), engine_options(request.options, runtime.clock())};
  if (asked.options.deadline == tidegate::kNoDeadline) {
    auto engine = runtime.use(Runtime::Span::batch);
    if (!engine) return engine.error();
    return (*engine)->infer_and_wait(std::move(asked));
  }
  std::future<Result<Response>> pending;
  {
    auto engine = runtime.use();
    if (!engine) return engine.error();
    pending = (*engine)->infer_future(std::move(asked));
  }
  return pending.get();
}

}  // namespace

tidegate_status tidegate_announce(tidegate_runtime* runtime, const tidegate_model* model,
                                  tidegate_announcement** announcement, tidegate_error** err) noexcept {
  return guarded(err, [&]() -> Result<void> {
    if (auto ok = check_output(announcement, "announcement"); !ok) return ok;
    if (auto ok = check(runtime, "runtime"); !ok) return ok;
    const auto name = name_of(model, runtime->runtime.get());
    if (!name) return name.error();
    auto handle = std::make_unique<tidegate_announcement>(runtime->runtime);
    auto engine = runtime->runtime->use();
    if (!engine) return engine.error();
    auto announced = (*engine)->announce(*name);
    if (!announced) return announced.error();
    if (*announced == nullptr) return {};
    handle->announced = *std::move(announced);
    *announcement = handle.release();
    return {};
  });
}

void tidegate_announcement_release(tidegate_announcement* announcement) noexcept {
  if (is_live(announcement)) delete announcement;
}

tidegate_status tidegate_capacity(tidegate_runtime* runtime, const tidegate_model* model, tidegate_queue_room* room,
                                  tidegate_error** err) noexcept {
  return guarded(err, [&]() -> Result<void> {
    if (auto ok = check(runtime, "runtime"); !ok) return ok;
    const auto name = name_of(model, runtime->runtime.get());
    if (!name) return name.error();
    auto engine = runtime->runtime->use();
    if (!engine) return engine.error();
    const auto left = (*engine)->capacity(*name);
    if (!left) return left.error();
    tidegate_queue_room told{};
    told.waiting = left->waiting;
    told.items = left->items;
    told.tokens = left->tokens;
    told.bytes = left->bytes;
    told.retry_after_ns = left->retry_after.count();
    return write_struct(room, told, "room");
  });
}

tidegate_status tidegate_submit_text(tidegate_runtime* runtime, const tidegate_model* model, const char* text,
                                     size_t length, const tidegate_request_options* options, tidegate_cq* cq,
                                     uint64_t tag, uint64_t* id, tidegate_result** result,
                                     tidegate_error** err) noexcept {
  if (id != nullptr) *id = 0;
  if (result != nullptr) *result = nullptr;
  return guarded(err, [&]() -> Result<tidegate_status> {
    if (auto ok = check(runtime, "runtime"); !ok) return ok.error();
    const auto name = name_of(model, runtime->runtime.get());
    if (!name) return name.error();
    const auto view = text_argument(text, length, "text");
    if (!view) return view.error();
    const auto known = read_options(options);
    if (!known) return known.error();
    return submit_input({*runtime->runtime, *name, *known, cq, tag}, std::string(*view), id, result);
  });
}

tidegate_status tidegate_cancel(tidegate_runtime* runtime, uint64_t id) noexcept {
  return guarded(nullptr, [&]() -> Result<void> {
    if (auto ok = check(runtime, "runtime"); !ok) return ok;
    auto engine = runtime->runtime->use();
    if (!engine) return engine.error();
    if (!runtime->runtime->cancel(**engine, id)) return Error(ErrorCode::not_found, "no such request is in flight");
    return {};
  });
}

tidegate_status tidegate_request_create(tidegate_runtime* runtime, const tidegate_model* model,
                                        tidegate_request** request, tidegate_error** err) noexcept {
  return guarded(err, [&]() -> Result<void> {
    if (auto ok = check_output(request, "request"); !ok) return ok;
    if (auto ok = check(runtime, "runtime"); !ok) return ok;
    auto name = name_of(model, runtime->runtime.get());
    if (!name) return name.error();
    *request = new tidegate_request(runtime->runtime, std::move(*name));
    return {};
  });
}

tidegate_status tidegate_request_set_text(tidegate_request* request, const char* text, size_t length,
                                          tidegate_error** err) noexcept {
  return guarded(err, [&]() -> Result<void> {
    if (auto ok = check(request, "request"); !ok) return ok;
    const auto view = text_argument(text, length, "text");
    if (!view) return view.error();
    request->text.assign(*view);
    request->has_text = true;
    request->tensors.clear();
    return {};
  });
}

tidegate_status tidegate_request_set_tensor(tidegate_request* request, uint32_t index,
                                            const tidegate_tensor_view* tensor, tidegate_error** err) noexcept {
  return guarded(err, [&]() -> Result<void> {
    if (auto ok = check(request, "request"); !ok) return ok;
    if (index >= kMaxInputs) return Error(ErrorCode::invalid_argument, "the index of an input tensor is above 63");
    auto copy = copy_tensor(tensor, "tensor");
    if (!copy) return copy.error();
    if (request->tensors.size() <= index) request->tensors.resize(index + 1);
    request->tensors[index] = std::move(*copy);
    request->has_text = false;
    request->text.clear();
    return {};
  });
}

tidegate_status tidegate_request_set_options(tidegate_request* request, const tidegate_request_options* options,
                                             tidegate_error** err) noexcept {
  return guarded(err, [&]() -> Result<void> {
    if (auto ok = check(request, "request"); !ok) return ok;
    auto known = read_options(options);
    if (!known) return known.error();
    request->options = *std::move(known);
    return {};
  });
}

tidegate_status tidegate_submit(tidegate_request* request, tidegate_cq* cq, uint64_t tag, uint64_t* id,
                                tidegate_result** result, tidegate_error** err) noexcept {
  if (id != nullptr) *id = 0;
  if (result != nullptr) *result = nullptr;
  return guarded(err, [&]() -> Result<tidegate_status> {
    if (auto ok = check(request, "request"); !ok) return ok.error();
    auto input = request->input();
    if (!input) return input.error();
    return submit_input({*request->runtime, request->model, request->options, cq, tag}, std::move(*input), id, result);
  });
}

tidegate_status tidegate_infer(tidegate_request* request, tidegate_result** result, tidegate_error** err) noexcept {
  return guarded(err, [&]() -> Result<void> {
    if (auto ok = check_output(result, "result"); !ok) return ok;
    if (auto ok = check(request, "request"); !ok) return ok;
    auto input = request->input();
    if (!input) return input.error();
    auto answer = std::make_unique<tidegate_result>();
    auto outcome = run(*request, *std::move(input));
    if (!outcome) return outcome.error();
    answer->response = std::move(*outcome);
    answer->done_ns = tidegate_clock_now_ns();
    *result = answer.release();
    return {};
  });
}

void tidegate_request_release(tidegate_request* request) noexcept {
  if (is_live(request)) delete request;
}
