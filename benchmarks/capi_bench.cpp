// What a call through the C ABI costs, over a host model that costs nothing.
#include <benchmark/benchmark.h>
#include <tidegate/tidegate.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "benchmark_main.hpp"

namespace {

using SteadyClock = std::chrono::steady_clock;

void must(tidegate_status status) {
  if (status != TIDEGATE_OK) std::abort();
}

/// Answers every item with one number.
tidegate_status answer_one(void*, tidegate_batch* batch) {
  const float number = 1;
  const std::int64_t shape[] = {1};
  tidegate_tensor_view view;
  TIDEGATE_INIT(&view);
  view.dtype = TIDEGATE_DTYPE_F32;
  view.rank = 1;
  view.shape = shape;
  view.data = &number;
  view.bytes = sizeof number;
  for (std::uint32_t i = 0; i < tidegate_batch_size(batch); ++i) must(tidegate_batch_answer(batch, i, &view, 1));
  return TIDEGATE_OK;
}

tidegate_runtime* make_runtime() {
  tidegate_config* config = nullptr;
  must(tidegate_config_create(&config, nullptr));
  tidegate_runtime* runtime = nullptr;
  must(tidegate_runtime_create(config, &runtime, nullptr));
  tidegate_config_release(config);
  tidegate_backend table;
  TIDEGATE_INIT(&table);
  table.run_batch = answer_one;
  must(tidegate_model_register(runtime, "m", 1, nullptr, 0, &table, nullptr, nullptr));
  return runtime;
}

/// `tidegate_infer`, one call after the other: without a deadline the caller's thread runs the batch, with one a
/// worker.
void infer(benchmark::State& state) {
  tidegate_runtime* const runtime = make_runtime();
  tidegate_request* request = nullptr;
  must(tidegate_request_create(runtime, nullptr, &request, nullptr));
  const std::string text = "some words";
  must(tidegate_request_set_text(request, text.data(), text.size(), nullptr));
  tidegate_request_options options;
  TIDEGATE_INIT(&options);
  options.timeout_ns = state.range(0) * 1'000'000'000;
  must(tidegate_request_set_options(request, &options, nullptr));
  std::vector<double> times;
  for (auto step : state) {
    (void)step;
    tidegate_result* result = nullptr;
    const auto begin = SteadyClock::now();
    const tidegate_status status = tidegate_infer(request, &result, nullptr);
    times.push_back(std::chrono::duration<double, std::nano>(SteadyClock::now() - begin).count());
    tidegate_result_release(result);
    if (status != TIDEGATE_OK) state.SkipWithError("a call failed");
  }
  std::sort(times.begin(), times.end());
  state.counters["p50_ns"] = times[times.size() / 2];
  state.counters["p99_ns"] = times[times.size() * 99 / 100];
  tidegate_request_release(request);
  must(tidegate_runtime_shutdown(runtime, TIDEGATE_FOREVER, nullptr));
  tidegate_runtime_release(runtime);
}
BENCHMARK(infer)->ArgName("timeout_s")->Arg(0)->Arg(60)->Iterations(20'000)->UseRealTime();

}  // namespace

int main(int count, char** arguments) { return tidegate::bench::run(count, arguments); }
