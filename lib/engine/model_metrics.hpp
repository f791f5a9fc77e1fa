// ModelMetrics: the series one model writes on its way through the pipeline.
#pragma once

#include <array>
#include <atomic>
#include <string>

#include "metrics/registry.hpp"
#include "queue/scheduler_core.hpp"
#include "tidegate/request.hpp"

namespace tidegate {

class ModelMetrics {
 public:
  ModelMetrics(Registry& registry, const std::string& model);

  void refused(ErrorCode code) noexcept;
  /// One completed request; `error` is null for an answer.
  void completed(const Response* response, const Error* error, Duration total) noexcept;
  void batch_ran(std::size_t items, Duration run) noexcept;
  void callback_threw() noexcept { callback_exceptions_.add(); }

 private:
  /// Series made when first counted: a refusal after that costs no heap.
  static constexpr std::size_t kCodes = 32;
  using ByCode = std::array<std::atomic<Counter*>, kCodes>;
  template <class Make>
  static void count(ByCode& series, ErrorCode code, Make&& make) noexcept;

  Registry& registry_;
  const std::string model_;
  ByCode refused_{};
  ByCode failed_{};
  std::array<Counter*, 3> answers_;  ///< by AnswerSource
  Counter& callback_exceptions_;
  Histogram& total_seconds_;
  Histogram& queue_seconds_;
  Histogram& run_seconds_;
  Histogram& batch_items_;
};

}  // namespace tidegate
