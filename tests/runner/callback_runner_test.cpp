#include <doctest/doctest.h>

#include <array>
#include <stdexcept>

#include "tidegate/runner.hpp"

using namespace tidegate;

namespace {

/// A batch of texts, prepared by the runner itself.
struct Batch {
  Batch(ModelRunner& runner, const std::vector<std::string>& texts) {
    for (const std::string& text : texts) prepared.push_back(*runner.prepare(text));
    for (const PreparedInput& input : prepared) items.push_back({.input = &input});
  }
  std::vector<PreparedInput> prepared;
  std::vector<BatchItem> items;
};

std::unique_ptr<ModelRunner> runner_of(CallbackOptions options) {
  auto runner = make_callback_runner(std::move(options));
  REQUIRE(runner);
  return std::move(*runner);
}

void answer_length(std::span<BatchItem> batch) {
  for (BatchItem& item : batch) {
    const std::array values{static_cast<float>(std::get<std::string>(item.input->input).size())};
    item.output = std::vector{Tensor::vector_of(values)};
  }
}

}  // namespace

TEST_CASE("callback runner: the host's function answers each item") {
  const auto runner = runner_of({.fingerprint = "length 1", .run = answer_length});
  Batch batch(*runner, {"a", "", "four"});
  runner->run(batch.items);
  CHECK(batch.items[0].output->at(0).as<float>()[0] == 1.0F);
  CHECK(batch.items[1].output->at(0).as<float>()[0] == 0.0F);
  CHECK(batch.items[2].output->at(0).as<float>()[0] == 4.0F);
  runner->run({});
}

TEST_CASE("callback runner: options without a function are refused by name") {
  const auto runner = make_callback_runner({.fingerprint = "x"});
  REQUIRE_FALSE(runner);
  CHECK(runner.error().code() == ErrorCode::invalid_argument);
  CHECK(runner.error().message().find("CallbackOptions.run") != std::string_view::npos);
}

TEST_CASE("callback runner: a throwing function fails every item of the batch, answered ones too") {
  const auto runner = runner_of({.run = [](std::span<BatchItem> batch) {
    answer_length(batch.first(1));
    throw std::runtime_error("model fell over\nwith a second line");
  }});
  Batch batch(*runner, {"a", "b"});
  runner->run(batch.items);
  for (const BatchItem& item : batch.items) {
    REQUIRE_FALSE(item.output);
    CHECK(item.output.error().code() == ErrorCode::host_failed);
    CHECK(item.output.error().message() == "the callback threw: model fell over");
  }
}

TEST_CASE("callback runner: what is thrown need not be an exception") {
  const auto runner = runner_of({.run = [](std::span<BatchItem>) { throw 7; }});
  Batch batch(*runner, {"a"});
  runner->run(batch.items);
  CHECK(batch.items[0].output.error().code() == ErrorCode::host_failed);
}

TEST_CASE("callback runner: an item left unanswered fails alone and says so") {
  const auto runner = runner_of({.run = [](std::span<BatchItem> batch) { answer_length(batch.first(1)); }});
  Batch batch(*runner, {"a", "b"});
  runner->run(batch.items);
  CHECK(batch.items[0].output);
  REQUIRE_FALSE(batch.items[1].output);
  CHECK(batch.items[1].output.error().code() == ErrorCode::host_failed);
  CHECK(batch.items[1].output.error().message() == "the callback gave no answer for this item");
}

TEST_CASE("callback runner: an error that the host sets reaches the item unchanged") {
  const auto runner = runner_of({.run = [](std::span<BatchItem> batch) {
    batch[0].output = Error(ErrorCode::too_large, "no room").with_numbers(9, 8);
  }});
  Batch batch(*runner, {"a"});
  runner->run(batch.items);
  CHECK(batch.items[0].output.error().code() == ErrorCode::too_large);
  CHECK(batch.items[0].output.error().observed() == 9);
}

TEST_CASE("callback runner: only a fingerprint makes answers cacheable, and it tells models apart") {
  const auto unnamed = runner_of({.run = answer_length});
  const auto one = runner_of({.fingerprint = "one", .run = answer_length});
  const auto same = runner_of({.fingerprint = "one", .run = answer_length});
  const auto other = runner_of({.fingerprint = "two", .run = answer_length});
  CHECK(one->info().kind == "callback");
  CHECK_FALSE(unnamed->info().deterministic);
  CHECK(one->info().deterministic);
  CHECK(one->info().fingerprint == same->info().fingerprint);
  CHECK(one->info().fingerprint != other->info().fingerprint);
}

TEST_CASE("callback runner: only where inputs get equal sizes may another run what one has prepared") {
  const auto preparation = [](CallbackOptions options, ItemRows rows = ItemRows::one) {
    options.rows = rows;
    options.run = answer_length;
    return runner_of(std::move(options))->info().preparation;
  };
  const auto size = [](const Input&) { return ItemSize{1, 1, 1}; };
  CHECK(preparation({}) == preparation({.fingerprint = "one"}));
  CHECK(preparation({}) != preparation({}, ItemRows::leading));
  CHECK(preparation({.size = size}) == Digest{});  // nobody knows
  CHECK(preparation({.fingerprint = "one", .size = size}) == preparation({.fingerprint = "one", .size = size}));
  CHECK(preparation({.fingerprint = "one", .size = size}) != preparation({.fingerprint = "two", .size = size}));
  CHECK(preparation({.fingerprint = "one", .size = size}) !=
        preparation({.fingerprint = "one", .size = size}, ItemRows::leading));
  CHECK(preparation({.fingerprint = "one", .size = size}) != preparation({.fingerprint = "one"}));
}

TEST_CASE("callback runner: sizes default to one row, one token and the input's bytes") {
  const auto runner = runner_of({.run = answer_length});
  const auto text = runner->prepare(std::string("hello"));
  REQUIRE(text);
  CHECK(text->size.rows == 1);
  CHECK(text->size.tokens == 1);
  CHECK(text->size.bytes == 5);
  const std::array values{1.0F, 2.0F};
  const auto tensors = runner->prepare(std::vector{Tensor::vector_of(values), Tensor::vector_of(values)});
  REQUIRE(tensors);
  CHECK(tensors->size.bytes == 16);
}

TEST_CASE("callback runner: the host's size function decides, within the contract") {
  CallbackOptions options{.run = answer_length};
  options.size = [](const Input& input) {
    const auto& text = std::get<std::string>(input);
    if (text == "throw") throw std::invalid_argument("no size");
    if (text == "int") throw 3;
    return ItemSize{.rows = text == "zero" ? 0U : 2U, .tokens = text.size(), .bytes = 7};
  };
  const auto runner = runner_of(std::move(options));
  const auto sized = runner->prepare(std::string("abc"));
  REQUIRE(sized);
  CHECK(sized->size.rows == 2);
  CHECK(sized->size.tokens == 3);
  CHECK(sized->size.bytes == 7);
  for (const char* text : {"throw", "int", "zero", ""}) {
    CAPTURE(text);
    CHECK(runner->prepare(std::string(text)).error().code() == ErrorCode::host_failed);
  }
}

TEST_CASE("callback runner: a text that is not UTF-8 is refused, NUL bytes and a megabyte are not") {
  const auto runner = runner_of({.run = answer_length});
  const auto bad = runner->prepare(std::string("ok\xff"));
  REQUIRE_FALSE(bad);
  CHECK(bad.error().code() == ErrorCode::invalid_argument);
  CHECK(bad.error().message().find("byte 2") != std::string_view::npos);
  CHECK(runner->prepare(std::string("a\0b", 3))->size.bytes == 3);
  CHECK(runner->prepare(std::string(1U << 20, 'x'))->size.bytes == 1U << 20);
}
