// A model's speed before its first request: measured when it is added, kept when drained.
#include <doctest/doctest.h>

#include <map>

#include "engine/calibration.hpp"
#include "engine/engine_rig.hpp"
#include "engine/profile_file.hpp"
#include "support/temporary_folder.hpp"

using namespace tidegate;
using namespace tidegate::test;
using namespace std::chrono_literals;

namespace {

/// A model on a manual clock: 1 ms a batch, 10 us a token, 100 us a row.
struct TimedModel {
  std::shared_ptr<ManualClock> clock = std::make_shared<ManualClock>();
  std::shared_ptr<FakeRunner::Log> log = std::make_shared<FakeRunner::Log>();
  Duration base = 1ms;
  bool fails = false;

  std::unique_ptr<FakeRunner> runner() {
    return std::make_unique<FakeRunner>(log, [this](std::span<BatchItem> batch) {
      Duration time = base;
      for (const BatchItem& item : batch) time += 100us + 10us * static_cast<std::int64_t>(item.input->size.tokens);
      clock->advance(time);
      if (!fails) FakeRunner::answer(batch);
    });
  }
  static std::vector<Input> samples() { return {std::string(4, 'a'), std::string(32, 'b'), std::string(128, 'c')}; }
};

struct CalibratedEngine {
  TimedModel& model;
  std::shared_ptr<ManualExecutor> workers = std::make_shared<ManualExecutor>();
  std::shared_ptr<ManualExecutor> completions = std::make_shared<ManualExecutor>();
  std::optional<Engine> engine;

  explicit CalibratedEngine(TimedModel& timed, ModelOptions options) : model(timed) {
    EngineOptions host;
    host.clock = model.clock;
    host.workers = workers;
    host.completions = completions;
    host.drain_timeout = Duration::zero();
    host.cache.memory.capacity_bytes = 0;
    engine.emplace(*Engine::create(std::move(host)));
    std::vector<Replica> replicas;
    replicas.push_back({model.runner(), {}});
    REQUIRE(engine->add_model("timed", std::move(replicas), std::move(options)));
  }
  void serve(int requests) {
    for (int i = 0; i < requests; ++i) {
      const std::string text(1 + static_cast<std::size_t>(i * 37 % 200), static_cast<char>('a' + i % 26));
      REQUIRE(engine->infer({"", text, {}}, [](const Result<Response>& result) { CHECK(result); }));
      while (workers->run_all() + completions->run_all() > 0) {
      }
    }
  }
  [[nodiscard]] double profile_files(const std::string& outcome) const {
    for (const MetricSample& sample : engine->metrics().samples) {
      if (sample.name != "tidegate_latency_profile_files_total") continue;
      for (const auto& [name, value] : sample.labels) {
        if (name == "outcome" && value == outcome) return sample.value;
      }
    }
    return 0;
  }
};

ModelOptions calibrated(std::string folder = {}) {
  ModelOptions options;
  options.calibration.inputs = TimedModel::samples();
  options.calibration.folder = std::move(folder);
  return options;
}

double us(Duration time) { return std::chrono::duration<double, std::micro>(time).count(); }

std::string kept_file(const TemporaryFolder&) {
  ModelInfo info = TimedModel().runner()->info();
  return profile_name(profile_key(info));
}

}  // namespace

TEST_CASE("a model that is added with sample inputs is measured, and its first batch is predicted") {
  TimedModel model;
  CalibratedEngine rig(model, calibrated());
  const LatencyProfile profile = *rig.engine->latency_profile();
  CHECK(profile.source == LatencySource::calibrated);
  CHECK(profile.samples == 0);
  CHECK(us(profile.predict(1, 50, 2500).mean) == doctest::Approx(1600).epsilon(0.01));
  CHECK(us(profile.predict(6, 600, 60000).mean) == doctest::Approx(7600).epsilon(0.01));
  CHECK(profile.predict(1, 50, 2500).p95 >= 2 * profile.predict(1, 50, 2500).mean - 1us);
  rig.serve(1);
  const BatchDecision first = rig.engine->explain()->at(0);
  CHECK(us(first.predicted) == doctest::Approx(us(first.actual)).epsilon(0.02));
}

TEST_CASE("with a calibration a deadline that cannot be held is refused from the first request on") {
  TimedModel model;
  CalibratedEngine rig(model, calibrated());
  RequestOptions options;
  options.deadline = model.clock->now() + 500us;
  Answer answer;
  const auto refused = rig.engine->infer({"", std::string("text"), options}, answer.callback());
  REQUIRE(!refused);
  CHECK(refused.error().code() == ErrorCode::overloaded);
}

TEST_CASE("a calibration is no traffic: no batch, no request, no answer is counted") {
  TimedModel model;
  CalibratedEngine rig(model, calibrated());
  CHECK(model.log->batches.size() > 12);
  CHECK(rig.engine->explain()->empty());
  for (const MetricSample& sample : rig.engine->metrics().samples) {
    if (sample.name.starts_with("tidegate_batch") || sample.name.starts_with("tidegate_request")) {
      CHECK_MESSAGE(sample.value == 0, sample.name);
    }
  }
}

TEST_CASE("a calibration ends within its budget, but for the batch that is its only judge") {
  for (const Duration base : {1ms, 20ms, 90ms, 250ms, 4000ms}) {
    TimedModel model;
    model.base = base;
    const TimePoint start = model.clock->now();
    const auto runner = model.runner();
    const auto points = calibrate(*runner, TimedModel::samples(), {}, *model.clock);
    REQUIRE(points);
    CHECK(model.clock->now() - start <= std::max<Duration>(kCalibrationBudget, 2 * (base + 200us)) + 15ms);
  }
}

TEST_CASE("a calibration keeps to the caps of a batch") {
  TimedModel model;
  ModelOptions options = calibrated();
  options.batching.max_batch_size = 2;
  options.batching.max_batch_tokens = 128;
  CalibratedEngine rig(model, options);
  for (const auto& batch : model.log->batches) {
    std::size_t tokens = 0;
    for (const std::string& text : batch) tokens += text.size();
    CHECK(batch.size() <= 2);
    CHECK(tokens <= 128);
  }
  CHECK(rig.engine->latency_profile()->source == LatencySource::calibrated);
}

TEST_CASE("a model that fails on its samples or takes none of them is served unmeasured") {
  TimedModel failing;
  failing.fails = true;
  CalibratedEngine rig(failing, calibrated());
  CHECK(rig.engine->latency_profile()->source == LatencySource::none);
  TimedModel other;
  ModelOptions tensors = calibrated();
  tensors.calibration.inputs = {std::vector<Tensor>{}};
  CalibratedEngine second(other, tensors);
  CHECK(second.engine->latency_profile()->source == LatencySource::none);
  second.serve(1);
}

TEST_CASE("switched off, without samples or without prediction no batch is run ahead") {
  for (int way = 0; way < 3; ++way) {
    TimedModel model;
    ModelOptions options = calibrated();
    if (way == 0) options.calibration.mode = Calibration::off;
    if (way == 1) options.calibration.inputs.clear();
    if (way == 2) options.batching.prediction = Prediction::off;
    CalibratedEngine rig(model, options);
    CHECK(model.log->batches.empty());
    CHECK(rig.engine->latency_profile()->source == LatencySource::none);
  }
}

TEST_CASE("what was learned is kept at the drain and known at the next start without a measurement") {
  const TemporaryFolder folder;
  TimedModel model;
  {
    CalibratedEngine rig(model, calibrated(folder.path()));
    rig.serve(100);
    CHECK(rig.engine->latency_profile()->source == LatencySource::learned);
    rig.engine->drain(0ns);
    CHECK(rig.profile_files("kept") == 1);
  }
  TimedModel again;
  CalibratedEngine rig(again, calibrated(folder.path()));
  CHECK(again.log->batches.empty());
  const LatencyProfile profile = *rig.engine->latency_profile();
  CHECK(profile.source == LatencySource::stored);
  CHECK(us(profile.predict(3, 120, 4800).mean) == doctest::Approx(2500).epsilon(0.03));
  CHECK(profile.tail95 < 1.5);
  CHECK(rig.profile_files("loaded") == 1);
}

TEST_CASE("too few batches are not kept") {
  const TemporaryFolder folder;
  TimedModel model;
  CalibratedEngine rig(model, calibrated(folder.path()));
  rig.serve(20);
  rig.engine->drain(0ns);
  CHECK(rig.profile_files("kept") == 0);
  CHECK(!std::filesystem::exists(folder.file(kept_file(folder))));
}

TEST_CASE("a profile that is damaged, foreign or of another version is measured anew and replaced") {
  const TemporaryFolder folder;
  {
    TimedModel model;
    CalibratedEngine rig(model, calibrated(folder.path()));
    rig.serve(64);
  }
  const std::string name = kept_file(folder);
  const std::string good = folder.read(name);
  const auto replaced = [&](std::string_view what, std::string_view by) {
    std::string text = good;
    text.replace(text.find(what), what.size(), by);
    return text;
  };
  const std::string damaged[] = {good.substr(0, good.size() / 2),
                                 "[]",
                                 std::string(100'000, ' ') + good,
                                 replaced("\"tidegate_latency_profile\": 1", "\"tidegate_latency_profile\": 2"),
                                 replaced("\"fingerprint\": \"01", "\"fingerprint\": \"02"),
                                 replaced("\"threads\": 1", "\"threads\": 4"),
                                 replaced("packed", "padded"),
                                 replaced("\"tail95\": ", "\"tail95\": -"),
                                 replaced("\"tail99\": ", "\"tail99\": 1e400, \"x\": "),
                                 replaced("\"coefficients_ns\": [", "\"coefficients_ns\": [-")};
  for (const std::string& text : damaged) {
    folder.write(name, text);
    TimedModel model;
    CalibratedEngine rig(model, calibrated(folder.path()));
    CHECK(rig.engine->latency_profile()->source == LatencySource::calibrated);
    CHECK(rig.profile_files("ignored") == 1);
    rig.serve(40);
    rig.engine->drain(0ns);
    CHECK(read_profile(folder.read(name), profile_key(TimedModel().runner()->info())));
  }
}

TEST_CASE("a folder that cannot be written is no error") {
  const TemporaryFolder folder;
  folder.write("file", "");
  TimedModel model;
  CalibratedEngine rig(model, calibrated(folder.file("file")));
  rig.serve(40);
  rig.engine->drain(0ns);
  CHECK(rig.profile_files("not_kept") == 1);
}

TEST_CASE("a profile is read back as it was written") {
  const ProfileKey key{Digest{1, 2, 3}, "a \"fast\" one", 7, BatchLayout::padded};
  LatencyMemory memory;
  memory.levels[0] = {40, {1234.5, 0, 0.0125, 17}};
  memory.levels[2] = {1ULL << 40, {0, 9e6, 0, 0}};
  memory.tail95 = 1.25;
  memory.tail99 = 1.75;
  const auto read = read_profile(write_profile(key, memory), key);
  REQUIRE(read);
  CHECK(read->levels[0].coefficients == memory.levels[0].coefficients);
  CHECK(read->levels[2].samples == memory.levels[2].samples);
  CHECK(read->levels[1].samples == 0);
  CHECK(read->tail95 == 1.25);
  CHECK(profile_name(key) != profile_name({key.fingerprint, key.processor, 8, key.layout}));
}
