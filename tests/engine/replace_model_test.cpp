// A model that is replaced while it serves.
#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <thread>

#include "engine/engine_rig.hpp"

using namespace tidegate;
using namespace tidegate::test;
using namespace std::chrono_literals;

namespace {

/// Answers {version, length of the text}; `fails`: an error for every item.
struct VersionedModel {
  explicit VersionedModel(int number, bool fails = false) : number_(number), fails_(fails) {}

  std::vector<Replica> replicas(std::shared_ptr<FakeRunner::Log> log = {}, std::uint8_t preparation = 7,
                                std::shared_ptr<std::atomic<int>> alive = {}) const {
    if (alive) ++*alive;
    const std::shared_ptr<void> life(nullptr, [alive](void*) {
      if (alive) --*alive;
    });
    auto runner = std::make_unique<FakeRunner>(
        std::move(log), [number = number_, fails = fails_, life](std::span<BatchItem> batch) {
          for (BatchItem& item : batch) {
            if (fails) {
              item.output = Error(ErrorCode::backend_failed, "this version fails");
              continue;
            }
            const auto length = std::get<std::string>(item.input->input).size();
            const float values[] = {static_cast<float>(number), static_cast<float>(length)};
            item.output = std::vector<Tensor>{Tensor::vector_of(values)};
          }
        });
    runner->mutable_info().fingerprint[0] = static_cast<std::uint8_t>(number_);
    runner->mutable_info().preparation[0] = preparation;
    std::vector<Replica> replicas;
    replicas.push_back({std::move(runner), {}});
    return replicas;
  }

 private:
  int number_;
  bool fails_;
};

int version_of(const Response& response) { return static_cast<int>(response.outputs.at(0).as<float>()[0]); }
int version_of(const Answer& answer) {
  REQUIRE(answer.answered());
  CHECK(answer.calls == 1);
  return version_of(**answer.result);
}

/// Prepares inputs with a signature: the text's first letter.
class SigningRunner final : public ModelRunner {
 public:
  explicit SigningRunner(std::unique_ptr<ModelRunner> inner) : inner_(std::move(inner)) {}
  const ModelInfo& info() const noexcept override { return inner_->info(); }
  Result<PreparedInput> prepare(Input input) override {
    auto prepared = inner_->prepare(std::move(input));
    if (prepared) prepared->signature = static_cast<std::uint64_t>(std::get<std::string>(prepared->input).front());
    return prepared;
  }
  void run(std::span<BatchItem> batch) override { inner_->run(batch); }

 private:
  std::unique_ptr<ModelRunner> inner_;
};

struct SwapRig : EngineRig {
  std::shared_ptr<FakeRunner::Log> first_log = std::make_shared<FakeRunner::Log>();

  explicit SwapRig(ModelOptions options = {}) {
    options.batching.max_batch_size = 4;
    REQUIRE(engine->add_model("m", VersionedModel(1).replicas(first_log), options));
  }
  RequestId ask(const std::string& text, Answer& answer, RequestOptions options = {}) {
    const auto id = engine->infer({"m", text, std::move(options)}, answer.callback());
    REQUIRE(id);
    return *id;
  }
  void swap(int version, std::shared_ptr<FakeRunner::Log> batches = {}, std::uint8_t preparation = 7) {
    REQUIRE(engine->replace_model("m", VersionedModel(version).replicas(std::move(batches), preparation)));
  }
};

double metric(const Engine& engine, std::string_view name, std::string_view model) {
  double sum = 0;
  int seen = 0;
  for (const MetricSample& sample : engine.metrics().samples) {
    if (sample.name != name) continue;
    for (const auto& [label, value] : sample.labels) {
      if (label != "model" || value != model) continue;
      sum += sample.value;
      ++seen;
    }
  }
  CHECK(seen <= 1);
  return sum;
}

}  // namespace

TEST_CASE("a replaced model: what runs is answered by the former version, what waits and what comes by the new one") {
  SwapRig rig;
  Answer running, waiting, pinned, later;
  rig.ask("a", running);
  rig.ask("b", waiting);
  RequestOptions keep;
  keep.version = Version::pinned;
  rig.ask("c", pinned, keep);
  const auto log = std::make_shared<FakeRunner::Log>();
  rig.swap(2, log);
  rig.ask("d", later);
  rig.settle();
  CHECK(version_of(running) == 1);
  CHECK(version_of(waiting) == 2);
  CHECK(version_of(pinned) == 1);
  CHECK(version_of(later) == 2);
  CHECK(rig.first_log->batches == std::vector<std::vector<std::string>>{{"a"}, {"c"}});
  CHECK(log->batches == std::vector<std::vector<std::string>>{{"b"}, {"d"}});
  CHECK(rig.engine->model_info("m")->fingerprint[0] == 2);
}

TEST_CASE("a replaced model: every answer is cached under the version that computed it") {
  SwapRig rig;
  Answer running, waiting;
  rig.ask("a", running);
  rig.ask("b", waiting);
  rig.swap(2);
  rig.settle();
  Answer again_a, again_b;
  rig.ask("a", again_a);
  rig.ask("b", again_b);
  rig.settle();
  CHECK(version_of(again_a) == 2);
  CHECK((*again_a.result)->source == AnswerSource::model);
  CHECK(version_of(again_b) == 2);
  CHECK((*again_b.result)->source == AnswerSource::cache);
}

TEST_CASE("a replaced model: joined requests move together and equal ones of the new version meet them") {
  SwapRig rig;
  Answer running, first, second, third;
  rig.ask("a", running);
  rig.ask("bb", first);
  rig.ask("bb", second);
  const auto log = std::make_shared<FakeRunner::Log>();
  // Version 2 is busy with a request of its own when the third comes.
  rig.swap(2, log);
  rig.ask("bb", third);
  rig.settle();
  for (const Answer* one : {&first, &second, &third}) CHECK(version_of(*one) == 2);
  CHECK(log->batches == std::vector<std::vector<std::string>>{{"bb"}});
}

TEST_CASE("a replaced model: a version that prepares inputs otherwise takes none over") {
  SwapRig rig;
  Answer running, waiting;
  rig.ask("a", running);
  rig.ask("b", waiting);
  rig.swap(2, {}, 8);
  rig.settle();
  CHECK(version_of(running) == 1);
  CHECK(version_of(waiting) == 1);
}

TEST_CASE("a replaced model: who reckons the size of an input otherwise takes none over") {
  const auto version = [](ItemRows rows, float number, bool sized) {
    CallbackOptions options;
    options.fingerprint = "one for all";  // the answers would be equal, sizes are not
    options.rows = rows;
    if (sized) options.size = [](const Input&) { return ItemSize{1, 2, 3}; };
    options.run = [number](std::span<BatchItem> batch) {
      for (BatchItem& item : batch) item.output = std::vector<Tensor>{Tensor::vector_of(std::vector{number})};
    };
    std::vector<Replica> replicas;
    replicas.push_back({*make_callback_runner(std::move(options)), {}});
    return replicas;
  };
  const std::vector<std::int64_t> shape{3, 2};
  const std::array<float, 6> values{1, 2, 3, 4, 5, 6};
  const auto input = [&](float first) {
    std::array<float, 6> own = values;
    own[0] = first;
    return std::vector{*Tensor::copy_of(DataType::f32, shape, std::as_bytes(std::span<const float>(own)))};
  };
  for (const bool sized : {false, true}) {
    for (const ItemRows later : {ItemRows::one, ItemRows::leading}) {
      CAPTURE(sized);
      EngineRig rig;
      REQUIRE(rig.engine->add_model("rows", version(ItemRows::one, 1, sized)));
      Answer running, waiting;
      REQUIRE(rig.engine->infer({"rows", input(8), {}}, running.callback()));
      REQUIRE(rig.engine->infer({"rows", input(9), {}}, waiting.callback()));
      REQUIRE(rig.engine->replace_model("rows", version(later, 2, sized)));
      rig.settle();
      CHECK(version_of(running) == 1);
      CHECK(version_of(waiting) == (later == ItemRows::one ? 2 : 1));
    }
  }
}

TEST_CASE("a replaced model: a request that moved can be cancelled and keeps its deadline") {
  SwapRig rig;
  Answer running, cancelled, late, blocker;
  rig.ask("a", running);
  const RequestId moved = rig.ask("b", cancelled);
  RequestOptions options;
  options.deadline = rig.clock->now() + 5ms;
  rig.swap(2);
  rig.ask("z", blocker);  // keeps the new version's replica
  Answer waits;
  const RequestId waits_id = rig.ask("w", waits);
  rig.ask("x", late, options);
  rig.swap(3);
  CHECK(rig.engine->cancel(waits_id));
  CHECK(!rig.engine->cancel(moved) == false);
  rig.clock->advance(10ms);
  rig.settle();
  CHECK(waits.has(ErrorCode::cancelled));
  CHECK(cancelled.calls == 1);
  CHECK(waits.calls == 1);
  CHECK(late.calls == 1);
  CHECK(!rig.engine->cancel(moved));
  CHECK(!rig.engine->cancel(waits_id));
}

TEST_CASE("a replaced model: a tenant's rates go on where they were, and what moves is charged once") {
  ModelOptions options;
  options.admission.tenant_limits.requests_per_minute = 4;
  SwapRig rig(options);
  const auto send = [&](const std::string& text, Answer& answer) {
    rig.clock->advance(Duration(1));  // they move in the order of their acceptance
    RequestOptions of_one;
    of_one.tenant = "one";
    return rig.engine->infer({"m", text, of_one}, answer.callback());
  };
  Answer running, first, second, third, refused;
  REQUIRE(send("a", running));
  REQUIRE(send("b", first));
  REQUIRE(send("c", second));
  options.batching.max_batch_size = 1;
  REQUIRE(rig.engine->replace_model("m", VersionedModel(2).replicas(), options));  // "b" runs there, "c" waits
  REQUIRE(send("d", third));
  CHECK(send("e", refused).error().code() == ErrorCode::quota_exceeded);
  REQUIRE(rig.engine->replace_model("m", VersionedModel(3).replicas(), options));
  const auto still = send("e", refused);
  REQUIRE_FALSE(still);
  CHECK(still.error().code() == ErrorCode::quota_exceeded);
  CHECK(still.error().retry_after() <= 15s);
  rig.settle();
  CHECK(version_of(running) == 1);
  CHECK(version_of(first) == 2);
  CHECK(version_of(second) == 3);
  CHECK(version_of(third) == 3);
  rig.clock->advance(15s + 1ms);
  Answer later, too_many;
  CHECK(send("e", later));
  CHECK_FALSE(send("f", too_many));
  rig.settle();
}

TEST_CASE("a replaced model: what moves shares no batch with items of another signature") {
  const auto version = [](std::vector<std::size_t>& sizes) {
    auto runner = std::make_unique<FakeRunner>(nullptr, [&sizes](std::span<BatchItem> batch) {
      sizes.push_back(batch.size());
      FakeRunner::answer(batch);
    });
    runner->mutable_info().preparation[0] = 7;
    std::vector<Replica> replicas;
    replicas.push_back({std::make_unique<SigningRunner>(std::move(runner)), {}});
    return replicas;
  };
  std::vector<std::size_t> former, later;
  EngineRig rig;
  REQUIRE(rig.engine->add_model("m", version(former)));
  Answer answers[5];
  int next = 0;
  // The signature is the text's first letter; the first of all runs, and then the first that moves.
  for (const char* text : {"a", "b", "c", "cc", "dd"}) {
    REQUIRE(rig.engine->infer({"m", std::string(text), {}}, answers[next++].callback()));
    rig.clock->advance(Duration(1));
  }
  REQUIRE(rig.engine->replace_model("m", version(later)));
  rig.settle();
  CHECK(former == std::vector<std::size_t>{1});
  CHECK(later == std::vector<std::size_t>{1, 2, 1});
  for (const Answer& answer : answers) CHECK(answer.answered());
}

TEST_CASE("a replaced model: two swaps in a row, and a request that waits follows both") {
  SwapRig rig;
  Answer running, waiting, second_running;
  rig.ask("a", running);
  const RequestId id = rig.ask("b", waiting);
  Answer holder;
  const auto log = std::make_shared<FakeRunner::Log>();
  rig.swap(2, log);  // "b" runs there at once
  Answer third;
  const RequestId third_id = rig.ask("c", third);
  rig.swap(3);
  CHECK(rig.workers->size() == 3);
  CHECK(rig.engine->cancel(third_id));
  rig.settle();
  CHECK(version_of(running) == 1);
  CHECK(version_of(waiting) == 2);
  CHECK(third.has(ErrorCode::cancelled));
  CHECK(!rig.engine->cancel(id));
}

TEST_CASE("a replaced model: a request that has moved twice is answered once, by the last version") {
  SwapRig rig;
  ModelOptions narrow;
  narrow.batching.max_batch_size = 1;
  Answer answers[6];
  for (int i = 0; i < 6; ++i) {
    rig.clock->advance(Duration(1));  // they move in the order of their acceptance
    rig.ask(std::string(static_cast<std::size_t>(i) + 1, 'q'), answers[i]);
  }
  REQUIRE(rig.engine->replace_model("m", VersionedModel(2).replicas(), narrow));
  REQUIRE(rig.engine->replace_model("m", VersionedModel(3).replicas(), narrow));
  rig.settle();
  CHECK(version_of(answers[0]) == 1);
  CHECK(version_of(answers[1]) == 2);
  for (int i = 2; i < 6; ++i) CHECK(version_of(answers[i]) == 3);
  CHECK((*answers[5].result)->timing.queue >= Duration::zero());
  CHECK(metric(*rig.engine, "tidegate_requests_in_flight", "m") == 0);
}

TEST_CASE("a replaced model: what the new version refuses stays with the former") {
  SwapRig rig;
  ModelOptions tiny;
  tiny.batching.max_batch_size = 1;
  tiny.admission.max_queued_items = 1;
  Answer answers[5];
  for (int i = 0; i < 5; ++i) rig.ask(std::string(static_cast<std::size_t>(i) + 1, 'q'), answers[i]);
  REQUIRE(rig.engine->replace_model("m", VersionedModel(2).replicas(), tiny));
  rig.settle();
  int by[3] = {};
  for (const Answer& answer : answers) ++by[version_of(answer)];
  CHECK(by[1] == 3);
  CHECK(by[2] == 2);
}

TEST_CASE("a replaced model: a version that fails on its samples is refused and nothing has changed") {
  SwapRig rig;
  Answer running, waiting;
  rig.ask("a", running);
  rig.ask("b", waiting);
  ModelOptions options;
  options.calibration.inputs = {std::string("sample")};
  const auto refused = rig.engine->replace_model("m", VersionedModel(2, true).replicas(), options);
  REQUIRE(!refused);
  CHECK(refused.error().code() == ErrorCode::backend_failed);
  CHECK(rig.engine->replace_model("other", VersionedModel(2).replicas()).error().code() == ErrorCode::not_found);
  CHECK(rig.engine->replace_model("m", {}).error().code() == ErrorCode::invalid_argument);
  rig.settle();
  CHECK(version_of(running) == 1);
  CHECK(version_of(waiting) == 1);
}

TEST_CASE("a replaced model: one that fails in service answers with its error, each request once") {
  SwapRig rig;
  Answer running, waiting;
  rig.ask("a", running);
  rig.ask("b", waiting);
  REQUIRE(rig.engine->replace_model("m", VersionedModel(2, true).replicas()));
  rig.settle();
  CHECK(version_of(running) == 1);
  CHECK(waiting.has(ErrorCode::backend_failed));
  CHECK(waiting.calls == 1);
}

TEST_CASE("a replaced model: the former version goes when it has nothing left to do, and its counts stay") {
  const auto alive = std::make_shared<std::atomic<int>>(0);
  EngineRig rig;
  REQUIRE(rig.engine->add_model("m", VersionedModel(1).replicas({}, 7, alive)));
  std::vector<Answer> answers(40);
  std::size_t next = 0;
  for (int version = 2; version <= 20; ++version) {
    const auto ask = [&] {
      Answer& answer = answers[next++];
      REQUIRE(rig.engine->infer({"m", "t" + std::to_string(next), {}}, answer.callback()));
    };
    ask();
    ask();
    REQUIRE(rig.engine->replace_model("m", VersionedModel(version).replicas({}, 7, alive)));
    rig.settle();
    CHECK(*alive == 1);
  }
  for (std::size_t i = 0; i < next; ++i) CHECK(answers[i].answered());
  CHECK(metric(*rig.engine, "tidegate_batches_total", "m") == static_cast<double>(next));
  const DrainReport report = rig.engine->drain(Duration::zero());
  CHECK(report.finished == 0);
  CHECK(report.failed == 0);
}

TEST_CASE("a replaced model: an old id never finds a request in the place of a version that is gone") {
  EngineRig rig;
  REQUIRE(rig.engine->add_model("m", VersionedModel(1).replicas()));
  Answer first;
  const auto id = rig.engine->infer({"m", std::string("a"), {}}, first.callback());
  REQUIRE(id);
  for (int version = 2; version < 6; ++version) {
    REQUIRE(rig.engine->replace_model("m", VersionedModel(version).replicas()));
    rig.settle();
    Answer other;
    const auto other_id = rig.engine->infer({"m", "b" + std::to_string(version), {}}, other.callback());
    REQUIRE(other_id);
    CHECK(*other_id != *id);
    CHECK(!rig.engine->cancel(*id));
    rig.settle();
    CHECK(other.answered());
  }
}

TEST_CASE("a replaced model: while the engine drains it is refused, and a drain ends both versions") {
  SwapRig rig;
  Answer answers[4];
  for (int i = 0; i < 4; ++i) rig.ask(std::string(static_cast<std::size_t>(i) + 1, 'q'), answers[i]);
  rig.swap(2);
  const DrainReport report = rig.engine->drain(Duration::zero());
  CHECK(report.failed == 4);
  CHECK(report.stuck_batches == 2);
  CHECK(rig.engine->replace_model("m", VersionedModel(3).replicas()).error().code() == ErrorCode::shutting_down);
  rig.settle();
  for (const Answer& answer : answers) {
    CHECK(answer.has(ErrorCode::shutting_down));
    CHECK(answer.calls == 1);
  }
}

TEST_CASE(
    "queue 4.13/70: replaced again and again under load, every request is answered once, by a version it may have") {
  auto created = Engine::create({});
  REQUIRE(created);
  Engine engine = std::move(*created);
  const auto alive = std::make_shared<std::atomic<int>>(0);
  ModelOptions options;
  options.batching.max_batch_size = 4;
  REQUIRE(engine.add_model("m", VersionedModel(1).replicas({}, 7, alive), options));
  std::atomic<int> version{1};
  std::atomic<int> asked{0}, answered{0}, cancelled{0}, wrong{0};
  std::atomic<bool> stop{false};
  std::vector<std::thread> clients;
  for (int client = 0; client < 3; ++client) {
    clients.emplace_back([&, client] {
      for (int i = 0; !stop; ++i) {
        const int least = version;
        const std::string text = std::to_string(client) + "/" + std::to_string(i % 50 == 0 ? 0 : i);
        RequestOptions how;
        how.cache = i % 3 == 0 ? CacheMode::use : CacheMode::bypass;
        if (i % 7 == 0) how.version = Version::pinned;
        const auto check = [&, least, size = text.size()](const Result<Response>& result) {
          ++answered;
          if (!result) {
            (result.error().code() == ErrorCode::cancelled ? cancelled : wrong) += 1;
          } else if (version_of(*result) < least || result->outputs.at(0).as<float>()[1] != static_cast<float>(size)) {
            ++wrong;
          }
        };
        ++asked;
        if (i % 4 == 0) {
          check(engine.infer_and_wait({"m", text, how}));
          continue;
        }
        const auto id = engine.infer({"m", text, how}, check);
        if (!id) {
          ++wrong;
        } else if (i % 5 == 0) {
          engine.cancel(*id);
        }
        while (asked - answered > 200) std::this_thread::yield();
      }
    });
  }
  for (int next = 2; next < 200; ++next) {
    REQUIRE(engine.replace_model("m", VersionedModel(next).replicas({}, 7, alive), options));
    version = next;
    const int before = answered;
    while (answered < before + 20) std::this_thread::yield();
  }
  stop = true;
  for (std::thread& client : clients) client.join();
  engine.drain(60s);
  CHECK(metric(engine, "tidegate_requests_in_flight", "m") == 0);
  // A drain posts the last completions, the end waits for them.
  static_cast<void>(Engine(std::move(engine)));
  CHECK(asked == answered);
  CHECK(wrong == 0);
}
