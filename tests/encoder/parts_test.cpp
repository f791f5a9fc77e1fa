// The small parts around the kernels: widening numbers, and sharing texts out.
#include <cmath>
#include <random>

#include "encoder/encoder_fixture.hpp"
#include "runner/encoder/group_plan.hpp"
#include "runner/encoder/widen.hpp"

namespace tidegate::test {

TEST_CASE("encoder parts: every half number and bfloat16 widens exactly") {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto stored = static_cast<std::uint16_t>(bits);
    float half = 0;
    float brain = 0;
    widen(DataType::f16, reinterpret_cast<const std::byte*>(&stored), {&half, 1});
    widen(DataType::bf16, reinterpret_cast<const std::byte*>(&stored), {&brain, 1});
    const int exponent = static_cast<int>(bits >> 10 & 31U);
    const double mantissa = static_cast<double>(bits & 1023U) / 1024.0;
    const double sign = bits >= 32768 ? -1.0 : 1.0;
    if (exponent < 31) {
      const double expected = exponent == 0 ? std::ldexp(mantissa, -14) : std::ldexp(1.0 + mantissa, exponent - 15);
      REQUIRE(static_cast<double>(half) == sign * expected);
      REQUIRE(std::signbit(half) == (bits >= 32768));
    } else {
      REQUIRE((mantissa == 0.0 ? std::isinf(half) : std::isnan(half)));
    }
    std::uint32_t raw = 0;
    std::memcpy(&raw, &brain, sizeof raw);
    REQUIRE(raw == bits << 16);
  }
}

TEST_CASE("encoder parts: groups hold every sequence once, within the limit, one a worker where possible") {
  std::mt19937 generator(11);
  for (int round = 0; round < 300; ++round) {
    const std::size_t count = 1 + generator() % 200;
    const std::size_t workers = 1 + generator() % 8;
    std::vector<std::vector<std::int32_t>> tokens(count);
    std::vector<Sequence> sequences;
    for (std::size_t i = 0; i < count; ++i) {
      tokens[i].resize(1 + generator() % (round % 3 == 0 ? 512 : 40));
      sequences.push_back({tokens[i], i});
    }
    GroupPlan plan;
    plan.plan(sequences, workers);
    REQUIRE(plan.size() >= std::min(workers, count) / 2);
    REQUIRE(plan.group(0).begin == 0);
    REQUIRE(plan.group(plan.size() - 1).end == count);
    std::vector<int> seen(count);
    for (const Sequence& sequence : sequences) ++seen[sequence.item];
    CHECK(std::all_of(seen.begin(), seen.end(), [](int times) { return times == 1; }));
    for (std::size_t index = 0; index < plan.size(); ++index) {
      const WorkShare group = plan.group(index);
      REQUIRE(group.begin < group.end);
      REQUIRE((index == 0 || plan.group(index - 1).end == group.begin));
      std::size_t total = 0;
      for (std::size_t i = group.begin; i < group.end; ++i) total += sequences[i].tokens.size();
      CHECK((total <= kGroupTokens || group.end == group.begin + 1));
    }
  }
}

}  // namespace tidegate::test
