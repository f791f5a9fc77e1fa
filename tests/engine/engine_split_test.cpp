// Requests larger than a batch: split at submit, run in parts, joined in order.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <random>
#include <thread>

#include "engine/engine_rig.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

Tensor numbers(std::int64_t rows, std::int64_t width, float first) {
  std::vector<float> values(static_cast<std::size_t>(rows * width));
  for (float& value : values) value = first++;
  return *Tensor::copy_of(DataType::f32, {rows, width}, std::as_bytes(std::span<const float>(values)));
}

/// Doubles every number; a row that starts with `poison` fails its item.
void twice(std::span<BatchItem> batch, float poison) {
  for (BatchItem& item : batch) {
    const Tensor& in = std::get<std::vector<Tensor>>(item.input->input).front();
    std::vector<float> values(in.as<float>().begin(), in.as<float>().end());
    const auto width = static_cast<std::size_t>(in.shape()[1]);
    bool failed = false;
    for (std::size_t i = 0; i < values.size(); i += width) failed = failed || values[i] == poison;
    for (float& value : values) value *= 2;
    if (failed) {
      item.output = Error(ErrorCode::backend_failed, "a row is poisonous");
    } else {
      item.output =
          std::vector{*Tensor::copy_of(DataType::f32, in.shape(), std::as_bytes(std::span<const float>(values)))};
    }
  }
}

CallbackOptions doubling(float poison = -1) {
  CallbackOptions options;
  options.fingerprint = "twice";
  options.rows = ItemRows::leading;
  options.run = [poison](std::span<BatchItem> batch) { twice(batch, poison); };
  return options;
}

ModelOptions rows_at_most(std::uint32_t rows) {
  ModelOptions options;
  options.batching.max_batch_size = rows;
  return options;
}

/// The rig's engine serves the model as "rows".
void serve(EngineRig& rig, const CallbackOptions& callback, const ModelOptions& options, std::uint32_t replicas = 1) {
  std::vector<Replica> set;
  for (std::uint32_t i = 0; i < replicas; ++i) set.push_back({*make_callback_runner(callback), {}});
  REQUIRE(rig.engine->add_model("rows", std::move(set), options));
}

Request ask(Tensor tensor, RequestOptions options = {}) {
  return {"rows", std::vector<Tensor>{std::move(tensor)}, std::move(options)};
}

bool is_twice(const Response& response, const Tensor& input) {
  if (response.outputs.size() != 1 || response.outputs[0].shape() != input.shape()) return false;
  const auto in = input.as<float>();
  const auto out = response.outputs[0].as<float>();
  return std::equal(in.begin(), in.end(), out.begin(), out.end(), [](float a, float b) { return 2 * a == b; });
}

double metric(const Engine& engine, const char* name) {
  for (const MetricSample& sample : engine.metrics().samples) {
    if (sample.name == name && sample.labels.front().second == "rows") return sample.value;
  }
  return -1;
}

}  // namespace

TEST_CASE("engine 4.13/23: a request of more rows than a batch runs in parts on all replicas and is joined in order") {
  EngineRig rig;
  serve(rig, doubling(), rows_at_most(4), 2);
  const Tensor input = numbers(10, 3, 1);
  Answer answer;
  REQUIRE(rig.engine->infer(ask(input), answer.callback()));
  CHECK(rig.workers->size() == 2);
  rig.workers->run_at(1);  // the second part before the first
  rig.settle();
  REQUIRE(answer.answered());
  CHECK(answer.calls == 1);
  CHECK(is_twice(**answer.result, input));
  CHECK((*answer.result)->timing.parts == 3);
  CHECK((*answer.result)->source == AnswerSource::model);
  CHECK(metric(*rig.engine, "tidegate_split_total") == 1);
  // What the cache knows is the whole.
  Answer again;
  REQUIRE(rig.engine->infer(ask(input), again.callback()));
  rig.settle();
  REQUIRE(again.answered());
  CHECK((*again.result)->source == AnswerSource::cache);
  CHECK(is_twice(**again.result, input));
  CHECK(metric(*rig.engine, "tidegate_batches_total") == 3);
}

TEST_CASE("engine 4.13/23: a part that fails fails the request with its error, once, and is not cached") {
  EngineRig rig;
  serve(rig, doubling(13), rows_at_most(4), 3);
  const Tensor input = numbers(12, 3, 1);  // 13 opens row 4, in the second part
  Answer answer;
  REQUIRE(rig.engine->infer(ask(input), answer.callback()));
  rig.settle();
  CHECK(answer.has(ErrorCode::backend_failed));
  CHECK(answer.calls == 1);
  CHECK(answer.result->error().message() == "a row is poisonous");
  CHECK(metric(*rig.engine, "tidegate_wasted_items_total") == 2);
  CHECK_FALSE(rig.engine->try_cached(ask(input)));
}

TEST_CASE("engine 4.13/23: after a part has failed the parts that wait never run") {
  EngineRig rig;
  serve(rig, doubling(1), rows_at_most(4));
  Answer answer;
  REQUIRE(rig.engine->infer(ask(numbers(40, 3, 1)), answer.callback()));
  rig.settle();
  CHECK(answer.has(ErrorCode::backend_failed));
  CHECK(metric(*rig.engine, "tidegate_batches_total") == 1);
  CHECK(metric(*rig.engine, "tidegate_queue_items") == 0);
}

TEST_CASE("engine 4.13/24: what the model cannot split is too large at submit, with cap, numbers and reason") {
  EngineRig rig;
  CallbackOptions unsplittable = doubling();
  unsplittable.rows = ItemRows::one;
  unsplittable.size = [](const Input& input) {
    return ItemSize{static_cast<std::uint32_t>(std::get<std::vector<Tensor>>(input)[0].shape()[0]), 1, 0};
  };
  serve(rig, unsplittable, rows_at_most(4));
  Answer answer;
  const auto refused = rig.engine->infer(ask(numbers(10, 3, 1)), answer.callback());
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::too_large);
  CHECK(refused.error().observed() == 10);
  CHECK(refused.error().limit() == 4);
  CHECK(refused.error().message() == "the request has more rows than max_batch_size, and the model cannot split it");
  rig.settle();
  CHECK(answer.calls == 0);
  CHECK(metric(*rig.engine, "tidegate_requests_in_flight") == 0);
}

TEST_CASE("engine 4.13/24: one row that is too large alone is refused, and so is a text") {
  EngineRig rig;
  ModelOptions options;
  options.batching.max_batch_tokens = 16;
  options.batching.max_batch_bytes = 100;
  serve(rig, doubling(), options);
  for (Request request : {ask(numbers(2, 17, 1)), Request{"rows", std::string(101, 'x'), {}}}) {
    const auto refused = rig.engine->infer(std::move(request), Answer().callback());
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == ErrorCode::too_large);
  }
  Answer fits;
  CHECK(rig.engine->infer(ask(numbers(5, 8, 1)), fits.callback()));  // by tokens and bytes two rows a part
  rig.settle();
  REQUIRE(fits.answered());
  CHECK((*fits.result)->timing.parts == 3);
}

TEST_CASE("engine 4.13/25: a request without a row is refused, whatever else it holds") {
  EngineRig rig;
  serve(rig, doubling(), rows_at_most(4));
  const Tensor scalar = *Tensor::copy_of(DataType::f32, {}, std::as_bytes(std::span<const float>({1.0F})));
  const std::vector<std::vector<Tensor>> inputs{{}, {numbers(0, 3, 1)}, {scalar}, {numbers(2, 3, 1), numbers(3, 3, 1)}};
  for (const std::vector<Tensor>& input : inputs) {
    const auto refused = rig.engine->infer({"rows", input, {}}, Answer().callback());
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == ErrorCode::invalid_argument);
  }
  Answer narrow;  // rows of nothing are rows
  CHECK(rig.engine->infer({"rows", std::vector<Tensor>{numbers(9, 0, 1)}, {}}, narrow.callback()));
  rig.settle();
  CHECK(narrow.calls == 1);
}

TEST_CASE("engine 4.13/17: where not all parts find room nothing is accepted") {
  EngineRig rig;
  ModelOptions options = rows_at_most(4);
  options.admission.max_queued_items = 3;
  serve(rig, doubling(), options);
  Answer running, waiting, refused;
  REQUIRE(rig.engine->infer(ask(numbers(4, 3, 1)), running.callback()));
  REQUIRE(rig.engine->infer(ask(numbers(8, 3, 100)), waiting.callback()));
  const auto full = rig.engine->infer(ask(numbers(8, 3, 200)), refused.callback());
  REQUIRE_FALSE(full);
  CHECK(full.error().code() == ErrorCode::queue_full);
  CHECK(full.error().retry_after() > Duration::zero());
  const auto never = rig.engine->infer(ask(numbers(16, 3, 300)), refused.callback());
  REQUIRE_FALSE(never);
  CHECK(never.error().code() == ErrorCode::too_large);
  CHECK(metric(*rig.engine, "tidegate_queue_items") == 2);
  rig.settle();
  CHECK(running.answered());
  CHECK(waiting.answered());
  CHECK(refused.calls == 0);
}

TEST_CASE("engine: an equal large request joins the parts in flight") {
  EngineRig rig;
  serve(rig, doubling(), rows_at_most(4));
  Answer first, second;
  const auto id = rig.engine->infer(ask(numbers(9, 3, 1)), first.callback());
  REQUIRE(id);
  REQUIRE(rig.engine->infer(ask(numbers(9, 3, 1)), second.callback()));
  CHECK(rig.engine->cancel(*id));
  rig.settle();
  CHECK(first.has(ErrorCode::cancelled));
  REQUIRE(second.answered());
  CHECK((*second.result)->source == AnswerSource::joined);
  CHECK(metric(*rig.engine, "tidegate_batches_total") == 3);
}

TEST_CASE("engine: a model that splits or joins wrongly fails the request and nothing else") {
  EngineRig rig;
  CallbackOptions wrong = doubling();
  wrong.fingerprint.clear();
  wrong.run = [](std::span<BatchItem> batch) {
    for (BatchItem& item : batch) {
      const Tensor& in = std::get<std::vector<Tensor>>(item.input->input).front();
      item.output = std::vector{numbers(1, in.shape()[0], 1)};  // the shape of a row follows the part
    }
  };
  serve(rig, wrong, rows_at_most(4));
  Answer answer;
  REQUIRE(rig.engine->infer(ask(numbers(5, 3, 1)), answer.callback()));
  rig.settle();
  CHECK(answer.has(ErrorCode::backend_failed));
}

TEST_CASE("engine 4.13/5: split or whole, a request is answered with the same bits") {
  std::mt19937 random(7);
  for (int round = 0; round < 60; ++round) {
    const auto rows = static_cast<std::int64_t>(1 + random() % 40);
    const auto width = static_cast<std::int64_t>(1 + random() % 5);
    const Tensor input = numbers(rows, width, static_cast<float>(random() % 1000));
    // Bytes of odd widths, so that slices are not aligned.
    std::vector<std::byte> odd(static_cast<std::size_t>(rows) * 3);
    for (std::byte& byte : odd) byte = static_cast<std::byte>(random());
    const Tensor bytes = *Tensor::copy_of(DataType::u8, {rows, 3}, odd);
    std::vector<Response> answers;
    for (const std::uint32_t most : {std::uint32_t{1024}, static_cast<std::uint32_t>(1 + random() % 7)}) {
      EngineRig rig;
      SyntheticOptions synthetic;
      synthetic.rows = ItemRows::leading;
      synthetic.clock = rig.clock;
      std::vector<Replica> set;
      for (int i = 0; i < 3; ++i) set.push_back({*make_synthetic_runner(synthetic), {}});
      REQUIRE(rig.engine->add_model("rows", std::move(set), rows_at_most(most)));
      Answer answer;
      REQUIRE(rig.engine->infer({"rows", std::vector<Tensor>{input, bytes}, {}}, answer.callback()));
      rig.settle();
      REQUIRE(answer.answered());
      CHECK((*answer.result)->timing.parts == (rows + most - 1) / most);
      answers.push_back(**answer.result);
    }
    CHECK(answers[0].outputs[0].shape() == Shape{rows, 8});
    CHECK(answers[0].outputs[0].shape() == answers[1].outputs[0].shape());
    CHECK(std::ranges::equal(answers[0].outputs[0].bytes(), answers[1].outputs[0].bytes()));
  }
}

TEST_CASE("engine: threads that wait and threads that do not get large and small requests answered right") {
  Engine engine = *Engine::create();
  std::vector<Replica> set;
  for (int i = 0; i < 3; ++i) set.push_back({*make_callback_runner(doubling(77)), {}});
  REQUIRE(engine.add_model("rows", std::move(set), rows_at_most(4)));
  std::atomic<int> wrong{0};
  std::atomic<int> failed{0};
  std::vector<std::thread> threads;
  for (unsigned thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      std::mt19937 random(thread);
      for (int i = 0; i < 200; ++i) {
        const auto rows = static_cast<std::int64_t>(1 + random() % 20);
        const Tensor input = numbers(rows, 2, static_cast<float>(random() % 100));
        RequestOptions options;
        options.cache = random() % 2 == 0 ? CacheMode::use : CacheMode::bypass;
        const bool waits = random() % 2 == 0;
        auto answer =
            waits ? engine.infer_and_wait(ask(input, options)) : engine.infer_future(ask(input, options)).get();
        bool poisoned = false;
        for (std::size_t row = 0; row < input.as<float>().size(); row += 2) {
          poisoned = poisoned || input.as<float>()[row] == 77;
        }
        if (!answer) ++failed;
        if (answer.has_value() == poisoned || (answer && !is_twice(*answer, input))) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
  CHECK(failed > 0);
  CHECK(metric(engine, "tidegate_requests_in_flight") == 0);
  CHECK(metric(engine, "tidegate_queue_items") == 0);
}
