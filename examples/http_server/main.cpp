// An embedding server: Tidegate behind Boost.Beast. The event loop only parses,
// tokenizes and writes; the model runs on the engine's threads.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>

#include "session.hpp"

namespace {

namespace asio = boost::asio;
using namespace tidegate;

struct Arguments {
  std::string model, name, address = "127.0.0.1";
  std::string precision = "f32", isa, pack_folder;
  std::uint16_t port = 8080;
  std::uint32_t threads = std::max(1U, std::thread::hardware_concurrency());
  std::uint32_t replicas = 1;
  std::uint32_t cores = 0;  ///< above 0: divided into replicas and threads by measuring
  std::uint32_t max_batch_size = 32;
  std::uint32_t max_queued_items = 4096;
  std::uint32_t timeout_ms = 30'000;
  std::uint32_t stuck_after_ms = 0;
  std::uint64_t requests_per_minute = 0, tokens_per_minute = 0;  ///< of one tenant
  std::uint64_t cache_bytes = 64ULL << 20;
  std::string cache_folder;
  std::uint32_t synthetic_us = 0;
};

void add_encoder_options(CLI::App& app, Arguments& arguments) {
  app.add_option("--precision", arguments.precision,
                 "Number format of the products; auto: the fastest here that agrees closely with f32")
      ->check(CLI::IsMember({"f32", "bf16", "int8", "auto"}))
      ->capture_default_str();
  app.add_option("--isa", arguments.isa, "Instruction set of the kernels; default: the best of this machine")
      ->check(CLI::IsMember({"plain", "avx2", "avx512", "avx512_vnni", "avx512_bf16"}));
  app.add_option("--pack-folder", arguments.pack_folder,
                 "Folder of the packed bf16 and int8 weights; default: the model folder");
}

void add_admission_options(CLI::App& app, Arguments& arguments) {
  app.add_option("--max-queued-items", arguments.max_queued_items, "Texts that may wait; more are refused with 429")
      ->check(CLI::Range(1, 1 << 22))
      ->capture_default_str();
  app.add_option("--requests-per-minute", arguments.requests_per_minute,
                 "Texts that one tenant may send; more are refused with 429; 0 = no limit")
      ->capture_default_str();
  app.add_option("--tokens-per-minute", arguments.tokens_per_minute, "The same in tokens")->capture_default_str();
  app.add_option("--timeout-ms", arguments.timeout_ms, "Deadline of each request; 0 = none")->capture_default_str();
  app.add_option("--stuck-after-ms", arguments.stuck_after_ms,
                 "A batch inside the model for so long is taken for stuck; 0 = ten times what such batches take")
      ->capture_default_str();
  app.footer(
      "A request's tenant is its API key (Authorization: Bearer KEY), or else the field 'user': it has its own rates "
      "and\n"
      "its share of the model. The keys are not checked. The header X-Priority: critical, interactive or batch says\n"
      "what goes first. GET /health answers 503 while every slot of the model holds a batch that is stuck.");
}

int parse(int argc, char** argv, Arguments& arguments) {
  CLI::App app("Serves POST /v1/embeddings, GET /v1/models, /health and /metrics");
  auto* model = app.add_option("--model", arguments.model, "Model folder in sentence-transformers layout");
  auto* synthetic = app.add_option("--synthetic-us", arguments.synthetic_us,
                                   "Instead of a model: a stand-in that takes this many microseconds a batch");
  model->excludes(synthetic);
  add_encoder_options(app, arguments);
  app.add_option("--name", arguments.name, "Model name in requests and answers; default: the folder's name");
  app.add_option("--address", arguments.address, "Address to listen on")->capture_default_str();
  app.add_option("--port", arguments.port, "Port to listen on; 0 = a free one, printed")->capture_default_str();
  app.add_option("--threads", arguments.threads, "Cores one batch may use")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  app.add_option("--cores", arguments.cores,
                 "Cores to divide into replicas x threads by measuring, at the start and under load; 0 = as these say")
      ->check(CLI::Range(0, 256))
      ->capture_default_str();
  app.add_option("--replicas", arguments.replicas, "Copies of the model")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  app.add_option("--max-batch-size", arguments.max_batch_size, "Most texts in one batch")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  add_admission_options(app, arguments);
  app.add_option("--cache-bytes", arguments.cache_bytes, "Memory for cached answers; 0 = no cache")
      ->capture_default_str();
  app.add_option("--cache-folder", arguments.cache_folder, "Folder of a disk cache that outlives the server");
  try {
    app.parse(argc, argv);
    if (arguments.model.empty() && synthetic->count() == 0) throw CLI::RequiredError("--model or --synthetic-us");
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return -1;
}

Result<std::unique_ptr<ModelRunner>> load_replica(const Arguments& arguments, std::uint32_t threads) {
  if (arguments.model.empty())
    return make_synthetic_runner({.base = std::chrono::microseconds(arguments.synthetic_us)});
  TextEncoderOptions options;
  options.folder = arguments.model;
  options.precision = precision_of(arguments.precision).value_or(Precision::f32);  // CLI11 has checked the name
  options.isa = arguments.isa;
  options.pack_folder = arguments.pack_folder;
  options.threads = threads;
  return load_text_encoder(options);
}

/// Completions on the event loop itself: one hop less, and none left on another
/// thread when the loop ends.
class LoopExecutor final : public Executor {
 public:
  explicit LoopExecutor(asio::io_context& context) : context_(context) {}
  void post(UniqueFunction<void()> task) override { asio::post(context_, std::move(task)); }

 private:
  asio::io_context& context_;
};

Result<void> add_model(Engine& engine, const Arguments& arguments, const ModelOptions& model) {
  const auto load = [arguments](ReplicaShape shape) -> Result<std::vector<Replica>> {
    std::vector<Replica> replicas;
    for (std::uint32_t i = 0; i < shape.replicas; ++i) {
      auto runner = load_replica(arguments, shape.threads);
      if (!runner) return std::move(runner).error();
      replicas.push_back({*std::move(runner), {}});
    }
    return replicas;
  };
  if (arguments.cores > 0) return engine.add_model("model", ShapedModel{load, arguments.cores}, model);
  auto replicas = load({arguments.replicas, std::max(1U, arguments.threads / arguments.replicas)});
  if (!replicas) return std::move(replicas).error();
  return engine.add_model("model", *std::move(replicas), model);
}

/// Has the shape of the model reviewed every ten seconds until it is destroyed.
class ShapeReviewer {
 public:
  explicit ShapeReviewer(Engine& engine)
      : thread_([&engine, this](const std::stop_token& stop) { run(engine, stop); }) {}

 private:
  void run(Engine& engine, const std::stop_token& stop) {
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any wake;
    while (!wake.wait_for(lock, stop, std::chrono::seconds(10), [&stop] { return stop.stop_requested(); })) {
      const auto review = engine.review_shape();
      if (!review) {
        fmt::print(stderr, "the model keeps its shape: {}\n", review.error().text());
      } else if (review->step != ShapeStep::stay) {
        fmt::print(stderr, "{} replicas with {} threads serve: {}\n", review->shape.replicas, review->shape.threads,
                   review->why);
      }
    }
  }

  std::jthread thread_;
};

Result<std::shared_ptr<http::Service>> make_service(const Arguments& arguments, asio::io_context& context) {
  EngineOptions options;
  options.completions = std::make_shared<LoopExecutor>(context);
  options.cache.memory.capacity_bytes = arguments.cache_bytes;
  if (!arguments.cache_folder.empty()) {
    options.clock = make_steady_clock();
    DiskCacheOptions disk;
    disk.folder = arguments.cache_folder;
    auto tier = open_disk_cache(disk, options.clock);
    if (!tier) return std::move(tier).error();
    options.cache.tiers.push_back(*std::move(tier));
  }
  auto engine = Engine::create(std::move(options));
  if (!engine) return std::move(engine).error();
  ModelOptions model;
  model.batching.max_batch_size = arguments.max_batch_size;
  model.batching.stuck_after = std::chrono::milliseconds(arguments.stuck_after_ms);
  model.admission.max_queued_items = arguments.max_queued_items;
  model.admission.tenant_limits.requests_per_minute = arguments.requests_per_minute;
  model.admission.tenant_limits.tokens_per_minute = arguments.tokens_per_minute;
  if (auto added = add_model(*engine, arguments, model); !added) return std::move(added).error();
  auto service = std::make_shared<http::Service>(http::Service{*std::move(engine), nullptr, arguments.name, {}});
  service->timeout = std::chrono::milliseconds(arguments.timeout_ms);
  if (!arguments.model.empty()) {
    auto tokenizer = load_tokenizer(arguments.model);
    if (!tokenizer) return std::move(tokenizer).error();
    service->tokenizer = *std::move(tokenizer);
  }
  if (service->model_name.empty()) {
    const std::filesystem::path folder = std::filesystem::path(arguments.model).lexically_normal();
    service->model_name = arguments.model.empty() ? "synthetic"
                          : folder.has_filename() ? folder.filename().string()
                                                  : folder.parent_path().filename().string();
  }
  return service;
}

/// Accepts connections until the socket is closed.
class Listener {
 public:
  Listener(asio::io_context& context, std::shared_ptr<http::Service> service)
      : context_(context), acceptor_(context), retry_(context), service_(std::move(service)) {}

  void open(const std::string& address, std::uint16_t port) {
    const asio::ip::tcp::endpoint endpoint(asio::ip::make_address(address), port);
    acceptor_.open(endpoint.protocol());
    acceptor_.set_option(asio::socket_base::reuse_address(true));
    acceptor_.bind(endpoint);
    acceptor_.listen();
    accept();
  }
  std::uint16_t port() const { return acceptor_.local_endpoint().port(); }
  void close() {
    acceptor_.close();
    retry_.cancel();
  }

 private:
  void accept() {
    acceptor_.async_accept(asio::make_strand(context_),
                           [this](boost::system::error_code error, asio::ip::tcp::socket socket) {
                             if (!acceptor_.is_open()) return;
                             if (error) return pause();
                             socket.set_option(asio::ip::tcp::no_delay(true), error);
                             std::make_shared<http::Session>(std::move(socket), service_)->start();
                             accept();
                           });
  }

  /// Out of descriptors, most likely: trying again at once would only burn the core.
  void pause() {
    retry_.expires_after(std::chrono::milliseconds(100));
    retry_.async_wait([this](boost::system::error_code error) {
      if (!error && acceptor_.is_open()) accept();
    });
  }

  asio::io_context& context_;
  asio::ip::tcp::acceptor acceptor_;
  asio::steady_timer retry_;
  std::shared_ptr<http::Service> service_;
};

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  if (const int code = parse(argc, argv, arguments); code >= 0) return code;
  asio::io_context context(1);
  auto service = make_service(arguments, context);
  if (!service) {
    fmt::print(stderr, "tidegate_http_server: {}\n", service.error().text());
    return 1;
  }
  try {
    // A request inside the engine is no work of the loop's own, so the loop is held open.
    const auto open = asio::make_work_guard(context);
    Listener listener(context, *service);
    listener.open(arguments.address, arguments.port);
    fmt::print("serving {} on http://{}:{}/v1/embeddings\n", (*service)->model_name, arguments.address,
               listener.port());
    std::fflush(stdout);
    // A termination signal stops the accepting and lets accepted requests finish.
    asio::signal_set signals(context, SIGINT, SIGTERM);
    std::thread drainer;
    std::optional<ShapeReviewer> reviewer;
    if (arguments.cores > 0) reviewer.emplace((*service)->engine);
    signals.async_wait([&](boost::system::error_code, int) {
      listener.close();
      drainer = std::thread([&] {
        reviewer.reset();
        (*service)->engine.drain(std::chrono::seconds(5));
        asio::post(context, [&] {
          (*service)->on_quiet = [&context] { context.stop(); };
          if ((*service)->open_requests == 0) context.stop();
        });
      });
    });
    context.run();
    drainer.join();
  } catch (const std::exception& error) {
    fmt::print(stderr, "tidegate_http_server: cannot listen on {}:{}: {}\n", arguments.address, arguments.port,
               error.what());
    return 1;
  }
  return 0;
}
