#include "tidegate/tensor.hpp"

#include <doctest/doctest.h>

#include <limits>

using namespace tidegate;

TEST_CASE("tensor: a copy holds the numbers and outlives their source") {
  Tensor copy;
  {
    const std::vector<float> numbers{1, 2, 3, 4, 5, 6};
    copy = *Tensor::copy_of(DataType::f32, {2, 3}, std::as_bytes(std::span(numbers)));
  }
  REQUIRE(copy.as<float>().size() == 6);
  CHECK(copy.as<float>()[5] == 6);
  CHECK(copy.shape() == Shape{2, 3});
  CHECK(copy.as<double>().empty());
}

TEST_CASE("tensor: sharing keeps the owner alive as long as any copy") {
  auto owner = std::make_shared<std::vector<float>>(4, 1.5F);
  const std::weak_ptr<std::vector<float>> watch = owner;
  auto tensor = *Tensor::share(DataType::f32, {4}, std::as_bytes(std::span(*owner)), owner);
  const Tensor second = tensor;
  owner.reset();
  tensor = Tensor();
  REQUIRE_FALSE(watch.expired());
  CHECK(second.as<float>()[3] == 1.5F);
}

TEST_CASE("tensor: a size that does not match shape and type is refused") {
  const std::byte bytes[16]{};
  const auto code = [&](DataType type, Shape shape) {
    const auto made = Tensor::copy_of(type, std::move(shape), bytes);
    return made ? ErrorCode::internal : made.error().code();
  };
  CHECK(Tensor::copy_of(DataType::f32, {2, 2}, bytes));
  CHECK(Tensor::copy_of(DataType::f64, {2}, bytes));
  CHECK(Tensor::copy_of(DataType::u8, {0}, {}));
  CHECK(code(DataType::f32, {5}) == ErrorCode::invalid_argument);
  CHECK(code(DataType::f64, {4}) == ErrorCode::invalid_argument);
  CHECK(code(DataType::f32, {-4}) == ErrorCode::invalid_argument);
  CHECK(code(static_cast<DataType>(99), {16}) == ErrorCode::invalid_argument);
  const std::int64_t huge = std::numeric_limits<std::int64_t>::max();
  CHECK(code(DataType::f32, {huge, huge}) == ErrorCode::invalid_argument);
  CHECK(code(DataType::f64, {huge}) == ErrorCode::invalid_argument);
  CHECK(element_count({huge, 2}) == -1);
  CHECK(element_count({}) == 1);
}
