#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <iterator>
#include <random>
#include <thread>

#include "torch/torch_support.hpp"

using namespace tidegate;
using test::load_made;
using test::run_batch;

namespace {

Tensor floats(Shape shape, const std::vector<float>& values) {
  return *Tensor::copy_of(DataType::f32, std::move(shape), std::as_bytes(std::span(values)));
}

std::vector<float> values_of(const Tensor& tensor) {
  const auto view = tensor.as<float>();
  return {view.begin(), view.end()};
}

/// Threads of this process.
std::size_t thread_count() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return static_cast<std::size_t>(std::distance(begin(tasks), end(tasks)));
}

std::unique_ptr<ModelRunner> made(const std::string& name, std::uint32_t threads = 1) {
  auto runner = load_made(name, threads);
  REQUIRE_MESSAGE(runner, (runner ? "" : runner.error().text()));
  return *std::move(runner);
}

}  // namespace

TEST_CASE("torch batch: a traced layer answers each item as plain loops do") {
  const auto runner = made("affine");
  std::mt19937 random(11);
  std::vector<Input> inputs;
  std::vector<std::vector<float>> expected;
  for (int n = 0; n < 33; ++n) {
    std::vector<float> x(3);
    for (float& value : x) value = static_cast<float>(static_cast<int>(random() % 17) - 8);
    std::vector<float> y(4);
    for (std::size_t i = 0; i < 4; ++i) {
      y[i] = static_cast<float>(i);
      for (std::size_t j = 0; j < 3; ++j) y[i] += static_cast<float>(3 * i + j) / 8 * x[j];
    }
    inputs.emplace_back(std::vector{floats({3}, x)});
    expected.push_back(y);
  }
  const auto answers = run_batch(*runner, inputs);
  for (std::size_t n = 0; n < answers.size(); ++n) {
    REQUIRE(answers[n]);
    REQUIRE(answers[n]->size() == 1);
    CHECK(answers[n]->front().shape() == Shape{4});
    CHECK(values_of(answers[n]->front()) == expected[n]);
  }
  runner->run({});
}

TEST_CASE("torch batch: shapes and types may be mixed, and every answer reaches its own item") {
  const auto runner = made("doubled");
  std::vector<Input> inputs;
  const std::vector<Shape> shapes{{2}, {3}, {2, 2}, {}, {0}, {2}, {1, 4}, {3, 0, 2}, {2}};
  for (std::size_t n = 0; n < shapes.size(); ++n) {
    const auto count = static_cast<std::size_t>(element_count(shapes[n]));
    inputs.emplace_back(std::vector{floats(shapes[n], std::vector<float>(count, static_cast<float>(n + 1)))});
  }
  const std::array<std::int64_t, 2> longs{1LL << 40, -3};
  inputs.emplace_back(std::vector{*Tensor::copy_of(DataType::i64, {2}, std::as_bytes(std::span(longs)))});
  const auto answers = run_batch(*runner, inputs);
  for (std::size_t n = 0; n < shapes.size(); ++n) {
    CAPTURE(n);
    REQUIRE(answers[n]);
    const Tensor& tensor = answers[n]->front();
    CHECK(tensor.shape() == shapes[n]);
    for (const float value : tensor.as<float>()) CHECK(value == 2.0F * static_cast<float>(n + 1));
  }
  REQUIRE(answers.back());
  CHECK(answers.back()->front().type() == DataType::i64);
  CHECK(answers.back()->front().as<std::int64_t>()[0] == 1LL << 41);
  CHECK(answers.back()->front().as<std::int64_t>()[1] == -6);
}

TEST_CASE("torch batch: every element type goes in and comes out") {
  const auto runner = made("doubled");
  std::vector<Input> inputs;
  const std::vector<DataType> types{DataType::f32, DataType::f64, DataType::f16, DataType::bf16, DataType::i8,
                                    DataType::i16, DataType::i32, DataType::i64, DataType::u8,   DataType::boolean};
  const std::vector<std::byte> zeros(32);
  for (const DataType type : types) {
    inputs.emplace_back(std::vector{*Tensor::copy_of(type, {4}, std::span(zeros).first(4 * byte_size(type)))});
  }
  const auto answers = run_batch(*runner, inputs);
  for (std::size_t n = 0; n < types.size(); ++n) {
    REQUIRE(answers[n]);
    CHECK(answers[n]->front().type() == types[n]);
    const std::byte expected{types[n] == DataType::boolean ? std::uint8_t{1} : std::uint8_t{0}};
    for (const std::byte byte : answers[n]->front().bytes()) CHECK(byte == expected);
  }
}

TEST_CASE("torch batch: one bad item fails alone, with the script's own reason on one line") {
  const auto runner = made("checked");
  std::vector<Input> inputs;
  for (int n = 0; n < 9; ++n) {
    inputs.emplace_back(std::vector{floats({2}, {static_cast<float>(n), n == 4 ? -1.0F : 1.0F})});
  }
  const auto answers = run_batch(*runner, inputs);
  for (std::size_t n = 0; n < answers.size(); ++n) {
    CAPTURE(n);
    if (n != 4) {
      REQUIRE(answers[n]);
      CHECK(values_of(answers[n]->front()) == std::vector{2.0F * static_cast<float>(n), 2.0F});
      continue;
    }
    REQUIRE_FALSE(answers[n]);
    CHECK(answers[n].error().code() == ErrorCode::backend_failed);
    CHECK(answers[n].error().message().find("negative numbers are not welcome") != std::string_view::npos);
    CHECK(answers[n].error().message().find('\n') == std::string_view::npos);
  }
}

TEST_CASE("torch batch: an item of a shape the model cannot take fails without the others") {
  const auto runner = made("affine");
  const auto answers =
      run_batch(*runner, {std::vector{floats({3}, {1, 2, 3})}, std::vector{floats({5}, {1, 2, 3, 4, 5})}});
  CHECK(answers[0]);
  REQUIRE_FALSE(answers[1]);
  CHECK(answers[1].error().code() == ErrorCode::backend_failed);
  CHECK(answers[1].error().message().find("shapes") != std::string_view::npos);
}

TEST_CASE("torch batch: a text, a wrong number of tensors and a broken boolean are refused") {
  const auto runner = made("pair");
  const Tensor one = floats({1}, {1});
  CHECK(runner->prepare(std::string("text")).error().code() == ErrorCode::invalid_argument);
  CHECK(runner->prepare(std::vector<Tensor>{}).error().code() == ErrorCode::invalid_argument);
  CHECK(runner->prepare(std::vector{one}).error().code() == ErrorCode::invalid_argument);
  CHECK(runner->prepare(std::vector{one, one, one}).error().code() == ErrorCode::invalid_argument);
  CHECK(runner->prepare(std::vector{one, one}));
  const std::array<std::uint8_t, 2> two{1, 2};
  const Tensor broken = *Tensor::copy_of(DataType::boolean, {2}, std::as_bytes(std::span(two)));
  CHECK(runner->prepare(std::vector{broken, one}).error().code() == ErrorCode::invalid_argument);
  // A text that another runner prepared is an error of its item, too.
  const PreparedInput foreign{.input = std::string("text")};
  BatchItem item{.input = &foreign};
  runner->run({&item, 1});
  CHECK(item.output.error().code() == ErrorCode::invalid_argument);
}

TEST_CASE("torch batch: sizes are the leading dimension and the bytes") {
  const auto runner = made("pair");
  const auto prepared =
      runner->prepare(std::vector{floats({2, 3}, std::vector<float>(6)), floats({5}, std::vector<float>(5))});
  REQUIRE(prepared);
  CHECK(prepared->size.rows == 1);
  CHECK(prepared->size.tokens == 5);
  CHECK(prepared->size.bytes == 44);
  CHECK(made("doubled")->prepare(std::vector{floats({}, {1})})->size.tokens == 1);
}

TEST_CASE("torch batch: optional arguments may be left out") {
  const auto runner = made("optionals");
  const Tensor x = floats({2}, {1, 2});
  const auto answers = run_batch(*runner, {std::vector{x}, std::vector{x, floats({2}, {10, 20})}, std::vector{x}});
  CHECK(values_of(answers[0]->front()) == std::vector{2.0F, 4.0F});
  CHECK(values_of(answers[1]->front()) == std::vector{12.0F, 24.0F});
  CHECK(values_of(answers[2]->front()) == std::vector{2.0F, 4.0F});
  CHECK(runner->prepare(std::vector{x, x, x}).error().code() == ErrorCode::invalid_argument);
}

TEST_CASE("torch batch: tuples, lists and dictionaries of tensors are answered in their order") {
  const Tensor x = floats({2}, {1, 2});
  const auto pair = run_batch(*made("pair"), {std::vector{x, x}, std::vector{x, x}});
  for (const auto& answer : pair) {
    REQUIRE(answer);
    REQUIRE(answer->size() == 2);
    CHECK(values_of(answer->at(0)) == std::vector{2.0F, 4.0F});
    CHECK(answer->at(1).shape().empty());
    CHECK(values_of(answer->at(1)) == std::vector{3.0F});
  }
  const auto listed = run_batch(*made("listed"), {std::vector{x}});
  REQUIRE(listed[0]);
  REQUIRE(listed[0]->size() == 3);
  CHECK(values_of(listed[0]->at(2)) == std::vector{3.0F, 4.0F});
  const auto named = run_batch(*made("named"), {std::vector{x}});
  REQUIRE(named[0]);
  REQUIRE(named[0]->size() == 2);
  CHECK(values_of(named[0]->at(0)) == std::vector{1.0F, 2.0F});
  CHECK(values_of(named[0]->at(1)) == std::vector{2.0F, 3.0F});
}

TEST_CASE("torch batch: answers that are no batch of tensors are unsupported") {
  const Tensor x = floats({2}, {1, 2});
  for (const char* name : {"nested", "number", "reduced", "complex"}) {
    CAPTURE(name);
    const auto answers = run_batch(*made(name), {std::vector{x}, std::vector{x}});
    for (const auto& answer : answers) {
      REQUIRE_FALSE(answer);
      CHECK(answer.error().code() == ErrorCode::unsupported);
    }
  }
}

TEST_CASE("torch batch: a view is answered in row-major order") {
  const auto answers = run_batch(*made("transposed"), {std::vector{floats({2, 3}, {1, 2, 3, 4, 5, 6})}});
  REQUIRE(answers[0]);
  CHECK(answers[0]->front().shape() == Shape{3, 2});
  CHECK(values_of(answers[0]->front()) == std::vector{1.0F, 4.0F, 2.0F, 5.0F, 3.0F, 6.0F});
}

TEST_CASE("torch batch: a script that writes to its argument does not reach the caller's tensor") {
  const auto runner = made("writing");
  const Tensor x = floats({2}, {1, 2});
  for (int round = 0; round < 3; ++round) {
    const auto answers = run_batch(*runner, {std::vector{x}});
    CHECK(values_of(answers[0]->front()) == std::vector{2.0F, 3.0F});
    CHECK(values_of(x) == std::vector{1.0F, 2.0F});
  }
}

TEST_CASE("torch batch: a module saved in training mode runs in evaluation mode") {
  const auto answers = run_batch(*made("training"), {std::vector{floats({64}, std::vector<float>(64, 1.0F))}});
  REQUIRE(answers[0]);
  CHECK(values_of(answers[0]->front()) == std::vector<float>(64, 1.0F));
}

TEST_CASE("torch batch: a model uses the threads it was given") {
  const auto one = made("doubled", 1);
  const auto three = made("doubled", 3);
  // Large enough for libtorch to share the work out.
  const std::vector<float> ones(1U << 20, 1.0F);
  const auto check = [&](ModelRunner& runner) {
    const auto answers = run_batch(runner, {std::vector{floats({1 << 20}, ones)}});
    REQUIRE(answers[0]);
    CHECK(std::ranges::all_of(answers[0]->front().as<float>(), [](float value) { return value == 2.0F; }));
  };
  const std::size_t before = thread_count();
  check(*one);
  CHECK(thread_count() <= before);  // one that has ended may still have been listed
  check(*three);
  CHECK(thread_count() >= before + 2);
}

TEST_CASE("torch batch: threads share one model") {
  const auto runner = made("affine");
  std::array<int, 4> wrong{};
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < 50; ++round) {
        const auto x = static_cast<float>(t * 100 + static_cast<std::size_t>(round));
        const auto answers = run_batch(*runner, {std::vector{floats({3}, {8 * x, 0, 0})}});
        if (!answers[0] || values_of(answers[0]->front()) != std::vector{0.0F, 1 + 3 * x, 2 + 6 * x, 3 + 9 * x})
          ++wrong[t];
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(wrong == std::array<int, 4>{});
}

TEST_CASE("torch batch: items that lead with rows are run behind one another, split and joined to the same bits") {
  const std::string file = test::made_by("make_models.py") + "/affine.pt";
  const auto runner = load_torchscript({.file = file, .sha256 = test::sha256_of_file(file), .rows = ItemRows::leading});
  REQUIRE(runner);
  const auto rows_from = [](int first, std::int64_t rows) {
    std::vector<float> values;
    for (std::int64_t i = 0; i < rows * 3; ++i) values.push_back(static_cast<float>((first + i) % 17 - 8));
    return std::vector{floats({rows, 3}, values)};
  };
  const auto together = run_batch(**runner, {rows_from(0, 7), rows_from(21, 2)});
  REQUIRE(together.at(0));
  REQUIRE(together.at(1));
  CHECK(together[0]->front().shape() == Shape{7, 4});
  CHECK(together[1]->front().shape() == Shape{2, 4});
  const auto whole = (*runner)->prepare(rows_from(0, 7));
  REQUIRE(whole);
  CHECK(whole->size.rows == 7);
  auto parts = (*runner)->split(*whole, {3, 1000, 1000});
  REQUIRE(parts);
  CHECK(parts->size() == 3);
  std::vector<std::vector<Tensor>> answers;
  for (PreparedInput& part : *parts) {
    const auto one = run_batch(**runner, {part.input});
    REQUIRE(one.front());
    answers.push_back(*one.front());
  }
  const auto joined = (*runner)->join(std::move(answers));
  REQUIRE(joined);
  CHECK(joined->front().shape() == Shape{7, 4});
  CHECK(values_of(joined->front()) == values_of(together[0]->front()));
  CHECK_FALSE((*runner)->prepare(std::vector{floats({}, {1.0F})}));
}
