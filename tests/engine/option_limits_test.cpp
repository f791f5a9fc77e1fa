// The bounds the schema publishes are the bounds that hold.
#include <doctest/doctest.h>

#include <string>

#include "cache/redis/redis_address.hpp"
#include "engine/config_schema.hpp"
#include "engine/options_check.hpp"

using namespace tidegate;
using config::Field;
using config::Value;
using config::ValueType;

namespace {

/// What the engine checks again when it is given the options, whoever made them.
Result<void> check(const EngineConfig& config) {
  RedisCacheOptions redis = config.redis;
  redis.address = "localhost";
  if (auto checked = check_options(redis); !checked) return checked;
  return check_options(config.engine);
}
Result<void> check(const ModelConfig& config) {
  if (auto replica = check_options(config.replica); !replica) return replica;
  if (auto synthetic = make_synthetic_runner(config.synthetic); !synthetic) return synthetic.error();
  return check_options(config.options);
}

/// The options of these keys are the program's to set as well; the bounds of the
/// others are those of a description.
bool is_option(const Field<EngineConfig>& field) {
  return !field.key.starts_with("cache.disk.") && !field.key.starts_with("cache.preset");
}
bool is_option(const Field<ModelConfig>& field) {
  return field.key.starts_with("batching.") || field.key.starts_with("admission.") ||
         field.key.starts_with("replica.") || field.key == "slo_us";
}

std::string member(std::string_view key, std::int64_t value) {
  return "\"" + std::string(key) + "\": " + std::to_string(value);
}

Result<EngineConfig> parse(const Field<EngineConfig>& field, std::int64_t value) {
  return parse_config("{" + member(field.key, value) + "}");
}
Result<ModelConfig> parse(const Field<ModelConfig>& field, std::int64_t value) {
  const bool synthetic = (field.kinds & config::bit(ModelKind::synthetic)) != 0;
  const std::string kind = synthetic ? R"("kind": "synthetic")" : R"("kind": "encoder", "folder": "f")";
  return parse_model_config(R"({"name": "a", )" + kind + ", " + member(field.key, value) + "}");
}

template <class Target>
void accepts(const Field<Target>& field, std::int64_t value) {
  const auto parsed = parse(field, value);
  REQUIRE_MESSAGE(parsed, parsed.error().message());
  CHECK(field.get(*parsed) == Value(value));
  const auto checked = check(*parsed);
  CHECK_MESSAGE(checked, checked.error().message());
}

template <class Target>
void refuses(const Field<Target>& field, std::int64_t value) {
  CHECK_FALSE(parse(field, value));
  Target target{};
  field.set(target, Value(value));
  const bool representable = field.get(target) == Value(value);
  if (representable && is_option(field)) CHECK_FALSE(check(target));
}

template <class Target>
int check_bounds(std::span<const Field<Target>> fields) {
  int checked = 0;
  for (const Field<Target>& field : fields) {
    if (field.type != ValueType::integer) continue;
    CAPTURE(field.key);
    accepts(field, field.minimum);
    accepts(field, field.maximum);
    refuses(field, field.minimum - 1);
    refuses(field, field.maximum + 1);
    ++checked;
  }
  return checked;
}

}  // namespace

TEST_CASE("options: the published bounds of every integer key are accepted and one beyond is refused") {
  CHECK(check_bounds(config::engine_fields()) == 34);
  CHECK(check_bounds(config::model_fields()) == 40);
}

TEST_CASE("options: sizes of batches that are not ascending, zero or above max_batch_size are refused by name") {
  struct Row {
    std::string_view list;
    std::string_view complaint;  ///< empty: accepted
  };
  const Row table[] = {
      {"", ""},
      {"16", ""},
      {"8,16,32", ""},
      {" 8, 16 ,32", ""},
      {"1,2,4,8", ""},
      {"16,8", "batching.allowed_batch_sizes[1] is 8 after 16"},
      {"8,8", "batching.allowed_batch_sizes[1] is 8 after 8"},
      {"8,64", "batching.allowed_batch_sizes[1] is 64; it must be 1 to batching.max_batch_size, 32"},
      {"0,8", "batching.allowed_batch_sizes[0] is 0"},
      {"8,many", "batching.allowed_batch_sizes[1] is 0"},
      {"8,,16", "batching.allowed_batch_sizes[1] is 0"},
      {"-8", "batching.allowed_batch_sizes[0] is 0"},
  };
  for (const Row& row : table) {
    CAPTURE(row.list);
    const auto parsed = parse_model_config(R"({"name": "a", "kind": "synthetic", "batching.allowed_batch_sizes": ")" +
                                           std::string(row.list) + "\"}");
    REQUIRE(parsed);
    const auto checked = check_options(parsed->options);
    CHECK(checked.has_value() == row.complaint.empty());
    if (!checked) CHECK(checked.error().message().find(row.complaint) != std::string::npos);
  }
}
