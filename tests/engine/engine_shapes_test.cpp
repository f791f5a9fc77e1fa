// A model whose cores are divided by measuring, and divided anew while it serves.
#include <doctest/doctest.h>

#include <atomic>
#include <fstream>
#include <map>
#include <thread>

#include "engine/engine_rig.hpp"
#include "engine/shape_file.hpp"
#include "support/eventually.hpp"
#include "support/temporary_folder.hpp"

using namespace tidegate;
using namespace tidegate::test;
using namespace std::chrono_literals;

namespace {

/// Every thread has a time of its own, so that what replicas take side by side does not depend on the machine.
class TimeOfThread final : public Clock {
 public:
  static void pass(Duration time) { passed() += time; }
  [[nodiscard]] TimePoint now() const noexcept override { return TimePoint(1h + passed()); }
  AlarmId call_at(TimePoint, UniqueFunction<void()>) override { return 1; }
  bool cancel(AlarmId) override { return true; }

 private:
  static Duration& passed() {
    static thread_local Duration passed{0};
    return passed;
  }
};

using Cost = std::function<Duration(ReplicaShape, std::size_t items)>;

/// Loads replicas of fake models whose batches take what `cost` says.
struct Loader {
  Cost cost;
  std::vector<ReplicaShape> loaded;
  std::vector<std::uint8_t> fingerprints{1};  ///< of the n-th load, the last for all others
  std::vector<std::string> samples{"aaaa", std::string(32, 'b')};
  std::string folder;
  int throws_at = -1;
  int fails_at = -1;

  ShapedModel model(std::uint32_t cores, std::function<void(Duration)> pass = TimeOfThread::pass) {
    return {[this, pass](ReplicaShape shape) { return load(shape, pass); }, cores};
  }
  Result<std::vector<Replica>> load(ReplicaShape shape, const std::function<void(Duration)>& pass) {
    const std::size_t n = loaded.size();
    loaded.push_back(shape);
    if (static_cast<int>(n) == fails_at) return Error(ErrorCode::out_of_memory, "no room for it");
    if (static_cast<int>(n) == throws_at) throw std::runtime_error("oops");
    std::vector<Replica> replicas;
    for (std::uint32_t i = 0; i < shape.replicas; ++i) {
      auto runner = std::make_unique<FakeRunner>(nullptr, [this, shape, pass](std::span<BatchItem> batch) {
        pass(cost(shape, batch.size()));
        FakeRunner::answer(batch);
      });
      runner->mutable_info().threads = shape.threads;
      runner->mutable_info().sample_texts = samples;
      runner->mutable_info().folder = folder;
      runner->mutable_info().fingerprint[0] = fingerprints[std::min(n, fingerprints.size() - 1)];
      replicas.push_back({std::move(runner), {}});
    }
    return replicas;
  }
};

Engine make_engine(std::shared_ptr<Clock> clock, std::shared_ptr<Executor> workers = {}) {
  EngineOptions options;
  options.clock = std::move(clock);
  options.workers = std::move(workers);
  options.completions = std::make_shared<ManualExecutor>();
  options.drain_timeout = Duration::zero();
  options.cache.memory.capacity_bytes = 0;
  return *Engine::create(std::move(options));
}

Duration divided(Duration work, double speedup) {
  return Duration(static_cast<std::int64_t>(static_cast<double>(work.count()) / speedup));
}
Duration linear(ReplicaShape shape, std::size_t items) { return divided(1ms + items * 1ms, shape.threads); }
Duration serial_part(ReplicaShape shape, std::size_t items) {
  return divided(1ms + items * 1ms, 1 / (0.5 + 0.5 / shape.threads));
}
Duration memory_bound(ReplicaShape shape, std::size_t items) {
  const double speedup = std::min(1 + 0.9 * (shape.threads - 1), 2.1);
  return divided(1ms + items * 1ms, speedup / (shape.replicas <= 2 ? 1.0 : 2.0));
}

ReplicaShape shape_of(const Engine& engine) {
  const auto shape = engine.shape();
  REQUIRE(shape);
  return shape->shape;
}

}  // namespace

TEST_CASE("a model with cores is served in the shape that serves the most, for three kinds of cost") {
  for (const auto& [cost, best] :
       {std::pair{Cost(linear), ReplicaShape{1, 4}}, {memory_bound, {2, 2}}, {serial_part, {4, 1}}}) {
    Loader loader{cost};
    Engine engine = make_engine(std::make_shared<TimeOfThread>());
    REQUIRE(engine.add_model("m", loader.model(4)));
    CHECK(shape_of(engine) == best);
    CHECK(engine.model_info()->threads == best.threads);
    CHECK(engine.scaling_snapshot()->spec_replicas == static_cast<std::int32_t>(best.replicas));
    CHECK(engine.shape()->why.find("measured") == 0);
    CHECK(loader.loaded == std::vector<ReplicaShape>{{1, 4}, {2, 2}, {4, 1}});
  }
}

TEST_CASE("the SLO of a model decides its shape too") {
  Loader loader{[](ReplicaShape shape, std::size_t items) {
    return divided(8ms + items * 2ms, 1 / (0.5 + 0.5 / shape.threads));
  }};
  ModelOptions options;
  options.slo = 13ms;
  Engine engine = make_engine(std::make_shared<TimeOfThread>());
  REQUIRE(engine.add_model("m", loader.model(4), options));
  CHECK(shape_of(engine) == ReplicaShape{1, 4});
}

TEST_CASE("what was measured is kept beside the model and read by the next engine") {
  TemporaryFolder folder;
  Loader loader{serial_part};
  loader.folder = folder.path();
  {
    Engine engine = make_engine(std::make_shared<TimeOfThread>());
    REQUIRE(engine.add_model("m", loader.model(4)));
  }
  const ShapeKey key{FakeRunner().info().fingerprint, {}, 4};
  std::string path;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    if (entry.path().filename().string().starts_with("tidegate-shape-")) path = entry.path();
  }
  REQUIRE_FALSE(path.empty());
  // The next one loads the first shape, to know whose file it is, and the best one.
  loader.loaded.clear();
  {
    Engine engine = make_engine(std::make_shared<TimeOfThread>());
    REQUIRE(engine.add_model("m", loader.model(4)));
    CHECK(shape_of(engine) == ReplicaShape{4, 1});
    CHECK(engine.shape()->why.find("earlier run") != std::string::npos);
    CHECK(loader.loaded == std::vector<ReplicaShape>{{1, 4}, {4, 1}});
  }
  // Damaged, it is measured again.
  std::ofstream(path) << R"({"tidegate_shapes": 2})";
  loader.loaded.clear();
  Engine engine = make_engine(std::make_shared<TimeOfThread>());
  REQUIRE(engine.add_model("m", loader.model(4)));
  CHECK(loader.loaded.size() == 3);
}

TEST_CASE("a file of shapes is read for its own model, processor and cores only") {
  const ShapeKey key{{7}, "a processor", 2};
  const std::vector<ShapeMeasurement> measured{{{1, 2}, {{8, 1, 3ms}, {8, 4, 5ms}}}, {{2, 1}, {{8, 1, 4ms}}}};
  const std::string text = write_shapes(key, measured);
  CHECK(read_shapes(text, key) == measured);
  CHECK_FALSE(read_shapes(text, {{8}, "a processor", 2}));
  CHECK_FALSE(read_shapes(text, {{7}, "another", 2}));
  CHECK_FALSE(read_shapes(text, {{7}, "a processor", 4}));
  CHECK(shape_file_name(key) != shape_file_name({{7}, "a processor", 4}));
  for (std::size_t i = 0; i + 2 < text.size(); ++i) CHECK_FALSE(read_shapes(text.substr(0, i), key));
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string changed = text;
    changed.replace(changed.find(from), from.size(), to);
    return read_shapes(changed, key);
  };
  CHECK_FALSE(with("\"tidegate_shapes\": 1", "\"tidegate_shapes\": 2"));
  CHECK_FALSE(with("\"threads\": 2", "\"threads\": 3"));
  CHECK_FALSE(with("3000000", "0"));
  CHECK_FALSE(with("3000000", "1e300"));
}

TEST_CASE("without samples, calibration or a second core the model is served and the reason is told") {
  for (int way = 0; way < 3; ++way) {
    Loader loader{serial_part};
    ModelOptions options;
    if (way == 0) loader.samples.clear();
    if (way == 1) options.calibration.mode = Calibration::off;
    Engine engine = make_engine(std::make_shared<TimeOfThread>());
    REQUIRE(engine.add_model("m", loader.model(way == 2 ? 1 : 4), options));
    CHECK(shape_of(engine) == (way == 2 ? ReplicaShape{1, 1} : ReplicaShape{1, 4}));
    CHECK(engine.shape()->why.find("not measured") == 0);
    CHECK(loader.loaded.size() == 1);
  }
}

TEST_CASE("a shape that cannot be loaded is left out, and wrong loaders are refused") {
  Loader loader{serial_part};
  loader.fails_at = 2;
  Engine engine = make_engine(std::make_shared<TimeOfThread>());
  REQUIRE(engine.add_model("m", loader.model(4)));
  CHECK(shape_of(engine) == ReplicaShape{2, 2});
  CHECK(engine.shape()->why.find("no room for it") != std::string::npos);

  const auto refusal = [&](ShapedModel model) {
    const auto added = engine.add_model("n", std::move(model));
    REQUIRE_FALSE(added);
    return std::string(added.error().message());
  };
  Loader first_fails{serial_part};
  first_fails.fails_at = 0;
  CHECK(refusal(first_fails.model(4)).find("no room") != std::string::npos);
  Loader first_throws{serial_part};
  first_throws.throws_at = 0;
  CHECK(refusal(first_throws.model(4)).find("oops") != std::string::npos);
  Loader differs{serial_part};
  differs.fingerprints = {1, 2};
  CHECK(refusal(differs.model(4)).find("another fingerprint") != std::string::npos);
  CHECK(refusal({{}, 4}).find("no loader") != std::string::npos);
  Loader any{serial_part};
  CHECK(refusal(any.model(0)).find("cores is 0") != std::string::npos);
  CHECK(refusal(any.model(257)).find("cores is 257") != std::string::npos);
  CHECK(refusal({[&](ReplicaShape) {
                   return any.load({3, 1}, TimeOfThread::pass);
                 },
                 4})
            .find("gave 3") != std::string::npos);
}

TEST_CASE("a model that was added with its replicas keeps its shape") {
  EngineRig rig;
  CHECK(rig.engine->shape().error().code() == ErrorCode::unsupported);
  CHECK(rig.engine->review_shape().error().code() == ErrorCode::unsupported);
  CHECK(rig.engine->review_shape("other").error().code() == ErrorCode::not_found);
  // Whoever replaces a model with replicas of his own fixes its shape.
  Loader loader{serial_part};
  REQUIRE(rig.engine->add_model("shaped", loader.model(2, [](Duration) {})));
  CHECK(rig.engine->shape("shaped"));
  std::vector<Replica> own;
  own.push_back({std::make_unique<FakeRunner>(), {}});
  REQUIRE(rig.engine->replace_model("shaped", std::move(own)));
  CHECK(rig.engine->review_shape("shaped").error().code() == ErrorCode::unsupported);
}

namespace {

/// Always busy: a batch of one takes what its shape costs, and as many run at a time as there are replicas.
struct BusyModel {
  std::shared_ptr<ManualClock> clock = std::make_shared<ManualClock>();
  std::shared_ptr<ManualExecutor> workers = std::make_shared<ManualExecutor>();
  std::shared_ptr<ManualExecutor> completions = std::make_shared<ManualExecutor>();
  Loader loader;
  std::optional<Engine> engine;
  std::vector<int> ends;
  std::vector<ShapeStep> steps;
  std::map<std::uint32_t, int> answered_by;  ///< replicas of the shape

  explicit BusyModel(Cost cost) : loader{std::move(cost)} {
    loader.samples.clear();  // served by one replica at first
    EngineOptions options;
    options.clock = clock;
    options.workers = workers;
    options.completions = completions;
    options.cache.memory.capacity_bytes = 0;
    options.drain_timeout = Duration::zero();
    engine.emplace(*Engine::create(std::move(options)));
    ModelOptions model;
    model.batching.max_batch_size = 1;
    REQUIRE(engine->add_model("m", loader.model(2, [](Duration) {}), model));
  }
  void send(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t number = ends.size();
      ends.push_back(0);
      REQUIRE(engine->infer({"", "text " + std::to_string(number), {}}, [this, number](const Result<Response>& result) {
        CHECK(result);
        ++ends[number];
      }));
    }
  }
  /// One batch on each replica.
  void serve() {
    const std::size_t running = workers->size();
    clock->advance(loader.cost(engine->shape()->shape, 1));
    for (std::size_t i = 0; i < running; ++i) workers->run_one();
    completions->run_all();
    send(running);
  }
  void run(Duration time) {
    TimePoint next = clock->now() + 1s;
    for (const TimePoint end = clock->now() + time; clock->now() < end;) {
      serve();
      if (clock->now() < next) continue;
      next = clock->now() + 1s;
      const auto review = engine->review_shape();
      REQUIRE(review);
      if (review->step != ShapeStep::stay) steps.push_back(review->step);
    }
  }
  void finish() {
    while (workers->run_all() + completions->run_all() > 0) {
    }
    for (const int count : ends) CHECK(count == 1);
  }
};

}  // namespace

TEST_CASE("queue 4.13/1: a busy model climbs to the better shape, and every request is answered once") {
  // One replica with two threads: 100 a second. Two with one each: 133.
  BusyModel model([](ReplicaShape shape, std::size_t) { return shape.replicas == 1 ? 10ms : 15ms; });
  CHECK(shape_of(*model.engine) == ReplicaShape{1, 2});
  model.send(20);
  model.run(5min);
  CHECK(model.steps == std::vector{ShapeStep::attempt, ShapeStep::keep});
  CHECK(shape_of(*model.engine) == ReplicaShape{2, 1});
  CHECK(model.engine->scaling_snapshot()->lanes.front().slots == 2);
  model.finish();
  CHECK(model.ends.size() > 30'000);
}

TEST_CASE("queue 4.13/1: a shape that serves less goes back, and every request is answered once") {
  BusyModel model([](ReplicaShape shape, std::size_t) { return shape.replicas == 1 ? 10ms : 21ms; });
  model.send(20);
  model.run(5min);
  CHECK(model.steps == std::vector{ShapeStep::attempt, ShapeStep::go_back});
  CHECK(shape_of(*model.engine) == ReplicaShape{1, 2});
  CHECK(model.engine->scaling_snapshot()->lanes.front().slots == 1);
  CHECK(model.engine->shape()->why.find("tokens/s at most") != std::string::npos);
  model.finish();
}

TEST_CASE("a shape that cannot be loaded during a review is an error, and the former serves on") {
  BusyModel model([](ReplicaShape, std::size_t) { return 10ms; });
  model.loader.fails_at = 1;
  model.send(20);
  bool failed = false;
  for (int i = 0; i < 30'000 && !failed; ++i) {
    model.serve();
    const auto review = model.engine->review_shape();
    failed = !review && review.error().code() == ErrorCode::out_of_memory;
  }
  CHECK(failed);
  CHECK(shape_of(*model.engine) == ReplicaShape{1, 2});
  model.finish();
}

TEST_CASE("queue 4.13/70: while threads ask, the shape changes again and again and no request is lost or run twice") {
  auto clock = std::make_shared<ManualClock>();
  std::atomic<int> runs{0};
  Loader loader{[&](ReplicaShape, std::size_t items) {
    runs += static_cast<int>(items);
    return 250ms;
  }};
  loader.samples.clear();
  EngineOptions options;
  options.clock = clock;
  options.cache.memory.capacity_bytes = 0;
  auto engine = Engine::create(std::move(options));
  REQUIRE(engine);
  ModelOptions model;
  // A thread that the system does not run for a while sees the others' time pass, and hangs by that clock only.
  model.batching.stuck_after = 1h;
  // A batch moves the time of all, so every slot is always busy.
  REQUIRE(engine->add_model("m", loader.model(4, [&](Duration time) { clock->advance(time); }), std::move(model)));
  constexpr int kThreads = 3;
  std::atomic<bool> stop{false};
  std::atomic<int> asked{0};
  std::atomic<int> answered{0};
  std::atomic<ErrorCode> failure{};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; !stop; ++i) {
        const std::string text = std::to_string(t) + " " + std::to_string(i);
        ++asked;
        const auto answer = engine->infer_future({"", text, {}}).get();
        if (!answer) {
          failure = answer.error().code();
        } else if (answer->outputs.front().as<float>()[0] == static_cast<float>(text.size())) {
          ++answered;
        }
      }
    });
  }
  int changes = 0;
  const bool changed = eventually([&] {
    const auto review = engine->review_shape();
    if (review && (review->step == ShapeStep::attempt || review->step == ShapeStep::go_back)) ++changes;
    return changes >= 4;
  });
  stop = true;
  for (std::thread& thread : threads) thread.join();
  CHECK(changed);
  CHECK(failure.load() == ErrorCode{});
  CHECK(answered.load() == asked.load());
  CHECK(runs.load() == asked.load());
}
