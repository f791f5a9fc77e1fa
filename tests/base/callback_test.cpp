#include "tidegate/callback.hpp"

#include <doctest/doctest.h>

#include <array>
#include <memory>

using namespace tidegate;

TEST_CASE("unique function: owns a move-only callable and destroys it once") {
  auto counter = std::make_shared<int>(0);
  {
    UniqueFunction<int(int)> f = [held = std::make_unique<int>(4), counter](int x) { return *held + x; };
    UniqueFunction<int(int)> g = std::move(f);
    CHECK_FALSE(static_cast<bool>(f));
    CHECK(g(3) == 7);
    CHECK(counter.use_count() == 2);
    g = nullptr;
    CHECK(counter.use_count() == 1);
  }
  CHECK(counter.use_count() == 1);
}

TEST_CASE("unique function: a callable too large to lie inline moves by pointer") {
  std::array<int, 64> big{};
  big[63] = 9;
  UniqueFunction<int()> f = [big] { return big[63]; };
  UniqueFunction<int()> g = std::move(f);
  CHECK(g() == 9);
}
