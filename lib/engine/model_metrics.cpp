#include "engine/model_metrics.hpp"

namespace tidegate {
namespace {

constexpr const char* kRequestsHelp = "Completed requests by outcome";
constexpr const char* kRefusedHelp = "Requests refused at the door, by reason";

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

Counter* answers(Registry& registry, const std::string& model, const char* source) {
  return &registry.counter("tidegate_requests_total", kRequestsHelp,
                           {{"model", model}, {"outcome", "answered"}, {"source", source}});
}

}  // namespace

ModelMetrics::ModelMetrics(Registry& registry, const std::string& model)
    : registry_(registry),
      model_(model),
      answers_{answers(registry, model, "model"), answers(registry, model, "joined"),
               answers(registry, model, "cache")},
      callback_exceptions_(registry.counter("tidegate_callback_exceptions_total", "Completion callbacks that threw",
                                            {{"model", model}})),
      total_seconds_(registry.histogram("tidegate_request_seconds", "Accepted to completed", {{"model", model}})),
      queue_seconds_(registry.histogram("tidegate_queue_seconds", "Accepted to batch formed", {{"model", model}})),
      run_seconds_(registry.histogram("tidegate_batch_run_seconds", "Inside the model", {{"model", model}})),
      batch_items_(registry.histogram("tidegate_batch_items", "Items per batch", {{"model", model}})) {}

/// Without memory to name its series an event goes uncounted.
template <class Make>
void ModelMetrics::count(ByCode& series, ErrorCode code, Make&& make) noexcept {
  try {
    std::atomic<Counter*>& known = series.at(static_cast<std::size_t>(-static_cast<std::int32_t>(code)));
    Counter* counter = known.load(std::memory_order_acquire);
    if (counter == nullptr) {
      counter = &make();  // the same for all who come here at a time
      known.store(counter, std::memory_order_release);
    }
    counter->add();
  } catch (...) {
  }
}

void ModelMetrics::refused(ErrorCode code) noexcept {
  count(refused_, code, [&]() -> Counter& {
    return registry_.counter("tidegate_refused_total", kRefusedHelp,
                             {{"model", model_}, {"reason", std::string(to_string(code))}});
  });
}

void ModelMetrics::completed(const Response* response, const Error* error, Duration total) noexcept {
  total_seconds_.record(seconds(total));
  if (response != nullptr) {
    answers_[static_cast<std::size_t>(response->source)]->add();
    if (response->source == AnswerSource::model) queue_seconds_.record(seconds(response->timing.queue));
    return;
  }
  count(failed_, error->code(), [&]() -> Counter& {
    return registry_.counter("tidegate_requests_total", kRequestsHelp,
                             {{"model", model_}, {"outcome", std::string(to_string(error->code()))}, {"source", ""}});
  });
}

void ModelMetrics::batch_ran(std::size_t items, Duration run) noexcept {
  batch_items_.record(static_cast<double>(items));
  run_seconds_.record(seconds(run));
}

}  // namespace tidegate
