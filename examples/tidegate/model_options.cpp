#include "model_options.hpp"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "text_source.hpp"

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
  command
      .add_option("--precision", arguments.precision,
                  "Number format of the products; auto: the fastest here that agrees closely with f32")
      ->check(CLI::IsMember({"f32", "bf16", "int8", "auto"}))
      ->capture_default_str();
  command.add_option("--isa", arguments.isa, "Instruction set of the kernels; default: the best of this machine")
      ->check(CLI::IsMember({"plain", "avx2", "avx512", "avx512_vnni", "avx512_bf16"}));
  command.add_option("--pack-folder", arguments.pack_folder,
                     "Folder of the packed bf16 and int8 weights; default: the model folder");
  command.add_option("--calibration", arguments.calibration,
                     "Text file, one text a line, like those to come; int8 is packed by it");
  command.add_option("--threads", arguments.threads, "Cores one batch may use")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  command
      .add_option("--cores", arguments.cores, "Cores to divide into replicas x threads by measuring; 0 = one replica")
      ->check(CLI::Range(0, 256))
      ->capture_default_str();
  command.add_option("--max-batch-size", arguments.max_batch_size, "Most texts in one batch")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
}

Result<TextEncoderOptions> encoder_options(const ModelArguments& arguments, ProgressBar& bar) {
  TextEncoderOptions options;
  options.progress = [&bar](double done) { bar.update(static_cast<std::uint64_t>(1000 * std::clamp(done, 0.0, 1.0))); };
  options.folder = arguments.model;
  options.threads = arguments.threads;
  options.isa = arguments.isa;
  options.pack_folder = arguments.pack_folder;
  options.precision = precision_of(arguments.precision).value_or(Precision::f32);  // CLI11 has checked the name
  if (arguments.calibration.empty()) return options;
  if (options.precision != Precision::int8 && options.precision != Precision::automatic) {
    return Error(ErrorCode::invalid_argument,
                 "--calibration is for --precision int8 or auto, not " + arguments.precision);
  }
  const auto text = read_lines(arguments.calibration);
  if (!text) return text.error();
  for (const std::string_view line : text->lines) {
    if (!line.empty()) options.calibration_texts.emplace_back(line);
  }
  if (options.calibration_texts.empty()) {
    return Error(ErrorCode::invalid_argument, "--calibration: " + text->name + " holds no text");
  }
  return options;
}

namespace {

Result<std::vector<Replica>> load_shape(ModelArguments arguments, ReplicaShape shape) {
  arguments.threads = shape.threads;
  std::vector<Replica> replicas;
  for (std::uint32_t i = 0; i < shape.replicas; ++i) {
    auto runner = load_with_bar(arguments, load_text_encoder);
    if (!runner) return std::move(runner).error();
    replicas.push_back({*std::move(runner), {}});
  }
  return replicas;
}

}  // namespace

Result<Engine> open_engine(const ModelArguments& arguments, const CacheOptions& cache) {
  EngineOptions options;
  options.cache = cache;
  auto engine = Engine::create(std::move(options));
  if (!engine) return engine;
  ModelOptions model;
  model.batching.max_batch_size = arguments.max_batch_size;
  // The sender keeps its own window, so the queue need not refuse.
  model.admission = {.max_queued_items = 1U << 22, .max_queued_tokens = 1ULL << 40, .max_queued_bytes = 1ULL << 40};
  const auto add = [&]() -> Result<void> {
    const auto load = [arguments](ReplicaShape shape) { return load_shape(arguments, shape); };
    if (arguments.cores > 0) return engine->add_model("model", ShapedModel{load, arguments.cores}, model);
    auto replicas = load({1, arguments.threads});
    if (!replicas) return std::move(replicas).error();
    return engine->add_model("model", *std::move(replicas), model);
  };
  if (auto added = add(); !added) return std::move(added).error();
  return engine;
}

}  // namespace tidegate::program
