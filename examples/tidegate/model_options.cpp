#include "model_options.hpp"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>

namespace tidegate::program {

double cgroup_cpu_quota() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return 0;
  return std::strtod(quota.c_str(), nullptr) / period;
}

std::uint32_t usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  double cores = ::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  if (const double quota = cgroup_cpu_quota(); quota > 0) cores = std::min(cores, std::ceil(quota));
  return static_cast<std::uint32_t>(std::clamp(cores, 1.0, 256.0));
}

void add_model_options(CLI::App& command, ModelArguments& arguments) {
  arguments.threads = usable_cores();
  command.add_option("--model", arguments.model, "Model folder in sentence-transformers layout")->required();
  command.add_option("--precision", arguments.precision, "Arithmetic of the model")
      ->check(CLI::IsMember({"f32"}))
      ->capture_default_str();
  command.add_option("--threads", arguments.threads, "Cores one batch may use")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  command.add_option("--max-batch-size", arguments.max_batch_size, "Most texts in one batch")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
}

Result<Engine> open_engine(const ModelArguments& arguments, const CacheOptions& cache) {
  TextEncoderOptions encoder;
  encoder.folder = arguments.model;
  encoder.threads = arguments.threads;
  auto runner = load_text_encoder(encoder);
  if (!runner) return std::move(runner).error();
  EngineOptions options;
  options.cache = cache;
  auto engine = Engine::create(std::move(options));
  if (!engine) return engine;
  std::vector<Replica> replicas;
  replicas.push_back({*std::move(runner), {}});
  ModelOptions model;
  model.batching.max_batch_size = arguments.max_batch_size;
  // The sender keeps its own window, so the queue need not refuse.
  model.admission = {.max_queued_items = 1U << 22, .max_queued_tokens = 1ULL << 40, .max_queued_bytes = 1ULL << 40};
  if (auto added = engine->add_model("model", std::move(replicas), model); !added) return std::move(added).error();
  return engine;
}

}  // namespace tidegate::program
