#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <cmath>
#include <set>
#include <thread>

#include "support/manual_clock.hpp"
#include "tidegate/runner.hpp"

using namespace tidegate;
using namespace std::chrono_literals;

namespace {

std::unique_ptr<ModelRunner> runner_of(SyntheticOptions options) {
  auto runner = make_synthetic_runner(std::move(options));
  REQUIRE(runner);
  return std::move(*runner);
}

std::vector<float> answer(ModelRunner& runner, Input input) {
  const auto prepared = runner.prepare(std::move(input));
  REQUIRE(prepared);
  BatchItem item{.input = &*prepared};
  runner.run({&item, 1});
  REQUIRE(item.output);
  const auto values = item.output->at(0).as<float>();
  return {values.begin(), values.end()};
}

Tensor matrix(DataType type, Shape shape, std::span<const std::byte> bytes) {
  return *Tensor::copy_of(type, std::move(shape), bytes);
}

/// Runs a batch on a thread of its own and answers how long it was busy by the clock.
Duration busy_time(SyntheticOptions options, const std::vector<std::string>& texts) {
  const auto clock = std::make_shared<test::ManualClock>();
  options.clock = clock;
  const auto runner = runner_of(std::move(options));
  std::vector<PreparedInput> prepared;
  for (const std::string& text : texts) prepared.push_back(*runner->prepare(text));
  std::vector<BatchItem> items;
  for (const PreparedInput& input : prepared) items.push_back({.input = &input});
  const TimePoint start = clock->now();
  std::atomic<bool> done = false;
  TimePoint end{};
  std::thread worker([&] {
    runner->run(items);
    end = clock->now();
    done = true;
  });
  while (clock->pending_alarms() == 0 && !done) std::this_thread::yield();
  while (!done) {
    clock->advance(clock->pending_alarms() == 0 ? Duration(0) : Duration(1ms));
    std::this_thread::yield();
  }
  worker.join();
  for (const BatchItem& item : items) CHECK(item.output);
  return end - start;
}

}  // namespace

TEST_CASE("synthetic runner: it is busy for base, items and tokens together") {
  CHECK(busy_time({}, {"a", "b"}) == 0ms);
  CHECK(busy_time({.base = 3ms}, {}) == 3ms);
  CHECK(busy_time({.base = 3ms, .per_item = 2ms}, {"a", "b"}) == 7ms);
  CHECK(busy_time({.base = 1ms, .per_token = 5ms}, {"one two  three", " ", "\tx\n"}) == 26ms);
}

TEST_CASE("synthetic runner: it waits on the machine's clock when none is given") {
  const auto runner = runner_of({.base = 2ms});
  const auto clock = make_steady_clock();
  const TimePoint start = clock->now();
  (void)answer(*runner, std::string("x"));
  CHECK(clock->now() - start >= 2ms);
}

TEST_CASE("synthetic runner: an answer depends on its input alone, never on its neighbours") {
  const auto runner = runner_of({.dimension = 16});
  const auto twin = runner_of({.per_item = 1us, .dimension = 16});
  CHECK(runner->info().fingerprint == twin->info().fingerprint);
  CHECK(runner->info().kind == "synthetic");
  CHECK(runner->info().deterministic);
  std::vector<PreparedInput> prepared;
  for (int i = 0; i < 50; ++i) prepared.push_back(*runner->prepare("text " + std::to_string(i)));
  std::vector<BatchItem> items;
  for (const PreparedInput& input : prepared) items.push_back({.input = &input});
  runner->run(items);
  std::set<std::vector<float>> seen;
  for (int i = 0; i < 50; ++i) {
    const auto values = items[static_cast<std::size_t>(i)].output->at(0).as<float>();
    const std::vector<float> batched(values.begin(), values.end());
    CHECK(batched == answer(*twin, "text " + std::to_string(i)));
    for (const float value : batched) CHECK((std::isfinite(value) && value >= -1.0F && value < 1.0F));
    seen.insert(batched);
  }
  CHECK(seen.size() == 50);
}

TEST_CASE("synthetic runner: numbers are spread evenly between -1 and 1") {
  const auto runner = runner_of({.dimension = 65536});
  const auto values = answer(*runner, std::string("spread"));
  std::array<int, 16> bins{};
  for (const float value : values) ++bins[static_cast<std::size_t>((value + 1.0F) * 8.0F)];
  // Chi-square over 16 bins: 15 degrees of freedom, 45 has p < 0.0001. The input is fixed.
  double chi_square = 0;
  for (const int count : bins) chi_square += (count - 4096.0) * (count - 4096.0) / 4096.0;
  CHECK(chi_square < 45.0);
}

TEST_CASE("synthetic runner: type, shape, order and bytes of tensors all matter") {
  const auto runner = runner_of({});
  const std::array<std::int32_t, 4> numbers{1, 2, 3, 4};
  const auto bytes = std::as_bytes(std::span(numbers));
  const auto row = matrix(DataType::i32, {4}, bytes);
  const auto half = matrix(DataType::i32, {2}, bytes.first(8));
  std::set<std::vector<float>> seen;
  seen.insert(answer(*runner, std::vector{row}));
  seen.insert(answer(*runner, std::vector{matrix(DataType::i32, {2, 2}, bytes)}));
  seen.insert(answer(*runner, std::vector{matrix(DataType::f32, {4}, bytes)}));
  seen.insert(answer(*runner, std::vector{row, half}));
  seen.insert(answer(*runner, std::vector{half, row}));
  seen.insert(answer(*runner, std::vector<Tensor>{}));
  seen.insert(answer(*runner, std::string(reinterpret_cast<const char*>(numbers.data()), 16)));
  CHECK(seen.size() == 7);
}

TEST_CASE("synthetic runner: sizes count words, or the leading dimension, and bytes") {
  const auto runner = runner_of({});
  CHECK(runner->prepare(std::string())->size.tokens == 1);
  CHECK(runner->prepare(std::string("  a b\nc "))->size.tokens == 3);
  CHECK(runner->prepare(std::string("abc"))->size.bytes == 3);
  CHECK(runner->prepare(std::vector<Tensor>{})->size.tokens == 1);
  CHECK(runner->prepare(std::vector{*Tensor::copy_of(DataType::u8, {7, 0}, {})})->size.tokens == 7);
  CHECK(runner->prepare(std::string("\x80")).error().code() == ErrorCode::invalid_argument);
}

TEST_CASE("synthetic runner: only where inputs get equal sizes may another run what one has prepared") {
  const auto preparation = [](SyntheticOptions options) {
    const auto runner = make_synthetic_runner(std::move(options));
    REQUIRE(runner);
    return (*runner)->info().preparation;
  };
  CHECK(preparation({}) == preparation({.dimension = 7}));
  CHECK(preparation({}) != preparation({.rows = ItemRows::leading}));
  CHECK(preparation({.steps = 2}) == preparation({}));
  CHECK(preparation({.steps = 2, .chunk = 4}) != preparation({.steps = 2}));
}

TEST_CASE("synthetic runner: options outside their range are refused with field and range") {
  const auto refusal = [](SyntheticOptions options) {
    const auto runner = make_synthetic_runner(std::move(options));
    REQUIRE_FALSE(runner);
    CHECK(runner.error().code() == ErrorCode::invalid_argument);
    return std::string(runner.error().message());
  };
  CHECK(refusal({.base = -1ns}).find("base is -1 ns, must be between 0 and 3600000000000 ns") != std::string::npos);
  CHECK(refusal({.per_item = 2h}).find("per_item") != std::string::npos);
  CHECK(refusal({.per_token = Duration::min()}).find("per_token") != std::string::npos);
  CHECK(refusal({.dimension = 0}).find("dimension is 0, must be between 1 and 65536") != std::string::npos);
  CHECK(refusal({.dimension = 65537}).find("dimension") != std::string::npos);
  CHECK(make_synthetic_runner({.base = 1h, .dimension = 65536}));
}
