// The bounds the schema publishes are the bounds that hold.
#include <doctest/doctest.h>

#include <string>

#include "engine/config_schema.hpp"
#include "engine/options_check.hpp"

using namespace tidegate;
using config::Field;
using config::Value;
using config::ValueType;

namespace {

/// What the engine checks again when it is given the options, whoever made them.
Result<void> check(const EngineConfig& config) { return check_options(config.engine); }
Result<void> check(const ModelConfig& config) {
  if (auto replica = check_options(config.replica); !replica) return replica;
  if (auto synthetic = make_synthetic_runner(config.synthetic); !synthetic) return synthetic.error();
  return check_options(config.options);
}

/// The options of these keys are the program's to set as well; the bounds of the
/// others are those of a description.
bool is_option(const Field<EngineConfig>&) { return true; }
bool is_option(const Field<ModelConfig>& field) {
  return field.key.starts_with("batching.") || field.key.starts_with("admission.") || field.key.starts_with("replica.");
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
  CHECK(check_bounds(config::engine_fields()) == 9);
  CHECK(check_bounds(config::model_fields()) == 23);
}
