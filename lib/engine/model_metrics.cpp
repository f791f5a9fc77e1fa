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

/// Without memory to name its series an event goes uncounted.
template <class Count>
void count(Count&& add) noexcept {
  try {
    add();
  } catch (...) {
  }
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

void ModelMetrics::refused(ErrorCode code) noexcept {
  count([&] {
    registry_
        .counter("tidegate_refused_total", kRefusedHelp, {{"model", model_}, {"reason", std::string(to_string(code))}})
        .add();
  });
}

void ModelMetrics::completed(const Response* response, const Error* error, Duration total) noexcept {
  total_seconds_.record(seconds(total));
  if (response != nullptr) {
    answers_[static_cast<std::size_t>(response->source)]->add();
    if (response->source == AnswerSource::model) queue_seconds_.record(seconds(response->timing.queue));
    return;
  }
  count([&] {
    registry_
        .counter("tidegate_requests_total", kRequestsHelp,
                 {{"model", model_}, {"outcome", std::string(to_string(error->code()))}, {"source", ""}})
        .add();
  });
}

void ModelMetrics::batch_ran(std::size_t items, Duration run) noexcept {
  batch_items_.record(static_cast<double>(items));
  run_seconds_.record(seconds(run));
}

}  // namespace tidegate
