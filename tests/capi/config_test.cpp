// The table of configuration keys, through its C++ functions.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "engine/config_schema.hpp"

namespace {

using tidegate::EngineConfig;
using tidegate::ModelKind;
using tidegate::parse_config;
using tidegate::parse_model_config;

std::string error_of(const std::string& json) {
  const auto parsed = parse_config(json);
  return parsed ? "" : std::string(parsed.error().message());
}
std::string model_error_of(const std::string& json) {
  const auto parsed = parse_model_config(json);
  return parsed ? "" : std::string(parsed.error().message());
}
bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// Edit distance by the definition, for short texts.
std::size_t plain_distance(std::string_view a, std::string_view b) {
  if (a.empty()) return b.size();
  if (b.empty()) return a.size();
  const std::string_view a1 = a.substr(1);
  const std::string_view b1 = b.substr(1);
  std::size_t best =
      std::min({plain_distance(a1, b) + 1, plain_distance(a, b1) + 1, plain_distance(a1, b1) + (a[0] == b[0] ? 0 : 1)});
  if (a.size() > 1 && b.size() > 1 && a[0] == b[1] && a[1] == b[0]) {
    best = std::min(best, plain_distance(a.substr(2), b.substr(2)) + 1);
  }
  return best;
}

}  // namespace

TEST_CASE("config: nested objects and dotted keys mean the same") {
  const std::string spellings[] = {
      R"({"cache": {"memory": {"capacity_bytes": 4096, "shards": 4}}, "drain_timeout_ms": 7})",
      R"({"cache.memory.capacity_bytes": 4096, "cache.memory.shards": 4, "drain_timeout_ms": 7})",
      R"({"cache": {"memory.capacity_bytes": 4096}, "cache.memory": {"shards": 4}, "drain_timeout_ms": 7})"};
  for (const std::string& json : spellings) {
    const auto config = parse_config(json);
    REQUIRE(config);
    CHECK(config->engine.cache.memory.capacity_bytes == 4096);
    CHECK(config->engine.cache.memory.shards == 4);
    CHECK(config->engine.drain_timeout == std::chrono::milliseconds(7));
  }
}

TEST_CASE("config: the error of an unknown key names the nearest one") {
  CHECK(error_of(R"({"cache": {"memory": {"capacity_byte": 1}}})") ==
        "unknown key 'cache.memory.capacity_byte'; the nearest is 'cache.memory.capacity_bytes'");
  CHECK(holds(error_of(R"({"drain_timeout": 1})"), "'drain_timeout_ms'"));
  CHECK(holds(error_of(R"({"shard": 1})"), "the nearest is 'cache.memory.shards'"));
  CHECK(holds(error_of(R"({"modles": []})"), "the nearest is 'models'"));
  CHECK(holds(error_of(R"({"models": [{"name": "a", "kind": "synthetic", "max_batchsize": 3}]})"),
              "unknown key 'models[0].max_batchsize'; the nearest is 'models[0].batching.max_batch_size'"));
  CHECK(holds(error_of(R"({"cache": {}, "": 1})"), "unknown key ''"));
  CHECK(holds(error_of("{\"" + std::string(100000, 'x') + "\": 1}"), "xxx...'"));
  // An object where a number belongs is a wrong value, not an unknown key.
  CHECK(holds(error_of(R"({"cache.memory.shards": {"a": 1}})"), "'cache.memory.shards' must be an integer"));
}

TEST_CASE("config: every single edit of a key is led back to it") {
  for (const auto& field : tidegate::config::engine_fields()) {
    for (std::size_t at = 0; at < field.key.size(); ++at) {
      std::string wrong(field.key);
      wrong.erase(at, 1);
      if (wrong.find("..") != std::string::npos) continue;
      CAPTURE(wrong);
      CHECK(holds(error_of("{\"" + wrong + "\": 1}"), "the nearest is '" + std::string(field.key) + "'"));
    }
  }
}

TEST_CASE("config: a wrong value is refused with key, value and range") {
  CHECK(error_of(R"({"cache.memory.shards": 257})") ==
        "key 'cache.memory.shards' must be an integer from 1 to 256, not 257");
  CHECK(holds(error_of(R"({"cache.memory.shards": 0})"), "not 0"));
  CHECK(holds(error_of(R"({"cache.memory.shards": 3})"), "power of two"));
  CHECK(holds(error_of(R"({"cache.memory.shards": 1.5})"), "not 1.5"));
  CHECK(holds(error_of(R"({"cache.memory.shards": true})"), "not true"));
  CHECK(holds(error_of(R"({"cache.memory.shards": null})"), "not null"));
  CHECK(holds(error_of(R"({"cache.memory.shards": "8"})"), "not \"8\""));
  CHECK(holds(error_of(R"({"cache.memory.capacity_bytes": -1})"), "bytes, not -1"));
  CHECK(holds(error_of(R"({"cache.memory.capacity_bytes": 18446744073709551615})"), "not 18446744073709551615"));
  CHECK(holds(error_of(R"({"models": {}})"), "'models' must be a list"));
  CHECK(holds(error_of(R"({"models": [1]})"), "'models[0]' must be an object"));
  CHECK(holds(model_error_of(R"({"name": "a", "kind": "encoder", "folder": "f", "threads": 0})"),
              "key 'threads' must be an integer from 1 to 256 cores, not 0"));
  CHECK(holds(model_error_of(R"({"name": "a", "kind": "oracle"})"), "one of encoder|torchscript|synthetic"));
  CHECK(holds(model_error_of(R"({"name": "a\u0000b", "kind": "synthetic"})"), "NUL byte"));
}

TEST_CASE("config: the error of an unknown name names the nearest one") {
  const auto with = [](const std::string& keys) { return R"({"name": "a", "folder": "f", )" + keys + "}"; };
  CHECK(model_error_of(with(R"("precision": "int9")")) ==
        "key 'precision' must be one of f32|bf16|int8|auto, not 'int9'; the nearest is 'int8'");
  CHECK(holds(model_error_of(with(R"("precision": "float32")")), "not 'float32'; the nearest is 'f32'"));
  CHECK(holds(model_error_of(with(R"("precision": "bfloat16")")), "the nearest is 'bf16'"));
  CHECK(holds(model_error_of(with(R"("precision": "automatic")")), "the nearest is 'auto'"));
  for (const std::string far : {"", "single", "x"}) {
    CHECK(model_error_of(with("\"precision\": \"" + far + "\"")) ==
          "key 'precision' must be one of f32|bf16|int8|auto, not '" + far + "'");
  }
  CHECK(model_error_of(with(R"("isa": "avx512vnni")")) ==
        "key 'isa' must be empty or one of plain|avx2|avx512|avx512_vnni|avx512_bf16, not 'avx512vnni'; "
        "the nearest is 'avx512_vnni'");
  CHECK(holds(model_error_of(with("\"isa\": \"" + std::string(100000, 'x') + "\"")), "xxx...'"));
}

TEST_CASE("config: every allowed name of a key is stored, dumped and listed in the schema") {
  const auto schema = nlohmann::json::parse(tidegate::config_schema_json());
  for (const auto& row : schema["model"]) {
    const auto key = row["key"].get<std::string>();
    if (!row.contains("values") || key == "kind") continue;
    CAPTURE(key);
    REQUIRE(row["values"].size() > 1);
    for (const auto& value : row["values"]) {
      // A key of another kind of model is tried on that.
      const bool of_encoder = !row.contains("kinds") || holds(row["kinds"].get<std::string>(), "encoder");
      const std::string source = of_encoder ? R"("folder": "f")" : R"("kind": "synthetic")";
      const auto model = parse_model_config(R"({"name": "a", )" + source + ", \"" + key + "\": " + value.dump() + "}");
      REQUIRE(model);
      EngineConfig config;
      config.models.push_back(*model);
      CHECK(nlohmann::json::parse(dump_config(config))["models"][0][key] == value);
    }
  }
}

TEST_CASE("config: precision, instruction set and pack folder of an encoder reach its options") {
  const auto model = parse_model_config(
      R"({"name": "a", "folder": "f", "precision": "auto", "isa": "avx2", "pack_folder": "/var/packed"})");
  REQUIRE(model);
  CHECK(model->precision == tidegate::Precision::automatic);
  CHECK(model->isa == "avx2");
  CHECK(model->pack_folder == "/var/packed");
  const auto plain = parse_model_config(R"({"name": "a", "folder": "f"})");
  REQUIRE(plain);
  CHECK(plain->precision == tidegate::Precision::f32);
  CHECK(plain->isa.empty());
  CHECK(plain->pack_folder.empty());
  CHECK(holds(model_error_of(R"({"name": "a", "kind": "synthetic", "isa": "avx2"})"), "applies to kind encoder"));
}

TEST_CASE("config: what a model needs and what does not apply to it is checked") {
  CHECK(holds(model_error_of(R"({"kind": "synthetic"})"), "'name' is missing"));
  CHECK(holds(model_error_of(R"({"name": "a"})"), "'folder' is missing: kind encoder"));
  CHECK(holds(model_error_of(R"({"name": "a", "kind": "torchscript", "file": "x.pt"})"), "'sha256' is missing"));
  CHECK(holds(model_error_of(R"({"name": "a", "kind": "synthetic", "folder": "f"})"),
              "key 'folder' applies to kind encoder, not to synthetic"));
  CHECK(holds(error_of(R"({"models": [{"name": "a", "kind": "synthetic"}, {"name": "a", "kind": "synthetic"}]})"),
              "taken by another model"));
  const auto host = tidegate::parse_host_model_config("h", R"({"fingerprint": "v1", "batching.max_batch_size": 3})");
  REQUIRE(host);
  CHECK(host->kind == ModelKind::host);
  CHECK(host->options.batching.max_batch_size == 3);
  CHECK_FALSE(tidegate::parse_host_model_config("h", R"({"replicas": 2})"));
  CHECK_FALSE(tidegate::parse_host_model_config("", "{}"));
  CHECK_FALSE(tidegate::parse_host_model_config("h", R"({"kind": "synthetic"})"));
}

TEST_CASE("config: listed tenants reach the options, are dumped, and a wrong entry is named") {
  const auto with = [](const std::string& tenants) {
    return R"({"models": [{"name": "s", "kind": "synthetic", "admission": {"tenants": )" + tenants + "}}]}";
  };
  const auto config =
      parse_config(with(R"([{"name": "gold", "weight_percent": 250, "tokens_per_minute": 9}, {"name": "iron"}])"));
  REQUIRE(config);
  const auto& tenants = config->models[0].options.admission.tenants;
  REQUIRE(tenants.size() == 2);
  CHECK(tenants[0].name == "gold");
  CHECK(tenants[0].weight == 2.5);
  CHECK(tenants[0].limits.tokens_per_minute == 9);
  CHECK(tenants[0].limits.requests_per_day == 0);
  CHECK(tenants[1].weight == 1);
  const std::string dump = dump_config(*config);
  CHECK(nlohmann::json::parse(dump)["models"][0]["admission.tenants"][0]["weight_percent"] == 250);
  const auto again = parse_config(dump);
  REQUIRE(again);
  CHECK(dump_config(*again) == dump);

  CHECK(error_of(with("7")) == "key 'models[0].admission.tenants' must be a list of objects");
  CHECK(holds(error_of(with("[7]")), "'models[0].admission.tenants[0]' must be an object"));
  CHECK(holds(error_of(with("[{}]")), "key 'models[0].admission.tenants[0].name' is missing"));
  CHECK(holds(error_of(with(R"([{"name": "a"}, {"name": "a"}])")),
              "'models[0].admission.tenants[1].name': the name 'a' is taken by another tenant"));
  CHECK(error_of(with(R"([{"name": "a", "weight": 2}])")) ==
        "unknown key 'models[0].admission.tenants[0].weight'; the nearest is "
        "'models[0].admission.tenants[0].weight_percent'");
  CHECK(holds(error_of(with(R"([{"name": "a", "weight_percent": 0}])")), "integer from 1 to 1000000 percent, not 0"));
  CHECK(holds(model_error_of(R"({"name": "s", "kind": "synthetic", "admission.tenants": [],
                                 "admission": {"tenants": []}})"),
              "key 'admission.tenants' is given twice"));
  CHECK(holds(model_error_of(R"({"name": "s", "kind": "synthetic", "admission.tenant": []})"),
              "the nearest is 'admission.tenants'"));
  // What the engine would refuse cannot be written as configuration.
  EngineConfig light;
  light.models.push_back(config->models[0]);
  light.models[0].options.admission.tenants[0].weight = 0.001;
  CHECK_FALSE(parse_config(dump_config(light)));
}

TEST_CASE("config: malformed, repeated and huge input is refused") {
  for (const char* json : {"", "{", "[]", "7", "null", "{\"a\"}", "{} {}", "{\"a\": 1,}", "\xff\xfe", "{'a': 1}"}) {
    CAPTURE(json);
    CHECK_FALSE(parse_config(json));
  }
  CHECK(holds(error_of(R"({"drain_timeout_ms": 1, "drain_timeout_ms": 2})"), "given twice"));
  CHECK(holds(error_of(R"({"cache.memory.shards": 1, "cache": {"memory": {"shards": 2}}})"), "given twice"));
  CHECK(holds(error_of(std::string(17U << 20, ' ')), "16 MiB"));
  CHECK_FALSE(parse_config(std::string(1'000'000, '[')));
  CHECK_FALSE(parse_config(std::string("{\"drain_timeout_ms\": 1}\0", 24)));
}

TEST_CASE("config: merging sets the given keys and leaves the others") {
  auto config = parse_config(R"({"cache.memory.shards": 2, "models": [{"name": "a", "kind": "synthetic"}]})");
  REQUIRE(config);
  config = tidegate::merge_config(*config, R"({"drain_timeout_ms": 9})");
  REQUIRE(config);
  CHECK(config->engine.cache.memory.shards == 2);
  CHECK(config->models.size() == 1);
  config = tidegate::merge_config(*config, R"({"models": []})");
  REQUIRE(config);
  CHECK(config->models.empty());
}

TEST_CASE("config: a dump is accepted and dumps to itself") {
  const auto config = parse_config(R"({"cache.time_to_live_ms": 5, "models": [
    {"name": "e", "kind": "encoder", "folder": "/f", "threads": 3, "prompt": "query",
     "precision": "int8", "isa": "plain", "pack_folder": "/p"},
    {"name": "t", "kind": "torchscript", "file": "/m.pt", "sha256": ")" +
                                   std::string(64, 'a') + R"("},
    {"name": "s", "kind": "synthetic", "synthetic": {"base_us": 10, "dimension": 3}, "replicas": 2}]})");
  REQUIRE(config);
  const std::string dump = dump_config(*config);
  const auto again = parse_config(dump);
  REQUIRE_MESSAGE(again, std::string(again ? "" : again.error().message()));
  CHECK(dump_config(*again) == dump);
  CHECK(again->models[0].threads == 3);
  CHECK(again->models[0].precision == tidegate::Precision::int8);
  CHECK(again->models[0].isa == "plain");
  CHECK(again->models[2].synthetic.base == std::chrono::microseconds(10));
}

TEST_CASE("config: a dump names the models of the program, which parsing does not accept") {
  EngineConfig config;
  const auto host = tidegate::parse_host_model_config("h", R"({"fingerprint": "v1"})");
  REQUIRE(host);
  config.models.push_back(*host);
  const std::string dump = dump_config(config);
  CHECK(nlohmann::json::parse(dump)["models"][0]["kind"] == "host");
  CHECK(error_of(dump) == "key 'models[0].kind' must be one of encoder|torchscript|synthetic, not 'host'");
}

TEST_CASE("config: the schema lists every key, and its defaults and bounds are true") {
  const auto schema = nlohmann::json::parse(tidegate::config_schema_json());
  REQUIRE(schema["runtime"].size() == tidegate::config::engine_fields().size());
  REQUIRE(schema["model"].size() == tidegate::config::model_fields().size());
  REQUIRE(schema["tenant"].size() == tidegate::config::tenant_fields().size());
  for (const auto& row : schema["tenant"]) {
    if (row["type"] != "integer") continue;
    CHECK(row["minimum"].get<std::int64_t>() <= row["default"].get<std::int64_t>());
    CHECK(row["default"].get<std::int64_t>() <= row["maximum"].get<std::int64_t>());
  }
  const auto defaults = nlohmann::json::parse(dump_config(EngineConfig{}));
  for (const auto& row : schema["runtime"]) {
    const auto key = row["key"].get<std::string>();
    CAPTURE(key);
    CHECK(row["default"] == defaults[key]);
    CHECK(row["since"] == "1.0");
    CHECK_FALSE(row["text"].get<std::string>().empty());
    const auto with = [&](const std::string& value) { return "{\"" + key + "\": " + value + "}"; };
    if (row["type"] == "string" && !row.contains("values")) {
      CHECK(parse_config(with("\"any text\"")));
      CHECK_FALSE(parse_config(with("\"" + std::string(5000, 'x') + "\"")));
      continue;
    }
    if (row["type"] == "string") {
      for (const auto& value : row["values"]) {
        const auto config = parse_config(with(value.dump()));
        REQUIRE(config);
        CHECK(nlohmann::json::parse(dump_config(*config))[key] == value);
      }
      CHECK_FALSE(parse_config(with("\"no such value\"")));
      continue;
    }
    REQUIRE(row["type"] == "integer");
    const auto minimum = row["minimum"].get<std::int64_t>();
    const auto maximum = row["maximum"].get<std::int64_t>();
    CHECK(minimum <= row["default"].get<std::int64_t>());
    CHECK(row["default"].get<std::int64_t>() <= maximum);
    CHECK(parse_config(with(std::to_string(minimum))));
    CHECK(parse_config(with(std::to_string(maximum))));
    CHECK_FALSE(parse_config(with(std::to_string(minimum - 1))));
    if (maximum < INT64_MAX) CHECK_FALSE(parse_config(with(std::to_string(maximum + 1))));
  }
}

TEST_CASE("config: every integer key of a model is stored and dumped") {
  std::mt19937 random(7);
  for (const auto& field : tidegate::config::model_fields()) {
    if (field.type != tidegate::config::ValueType::integer) continue;
    CAPTURE(field.key);
    const bool synthetic = (field.kinds & tidegate::config::bit(ModelKind::synthetic)) != 0;
    const std::int64_t value = field.minimum + static_cast<std::int64_t>(random() % 200);
    if (value > field.maximum) continue;
    const std::string head =
        synthetic ? R"({"name": "a", "kind": "synthetic", ")" : R"({"name": "a", "folder": "f", ")";
    const auto model = parse_model_config(head + std::string(field.key) + "\": " + std::to_string(value) + "}");
    REQUIRE(model);
    CHECK(field.get(*model) == tidegate::config::Value(value));
  }
}

TEST_CASE("config: the edit distance agrees with its definition") {
  std::mt19937 random(11);
  for (int round = 0; round < 2000; ++round) {
    std::string a;
    std::string b;
    for (unsigned i = random() % 6; i > 0; --i) a += static_cast<char>('a' + random() % 3);
    for (unsigned i = random() % 6; i > 0; --i) b += static_cast<char>('a' + random() % 3);
    CAPTURE(a);
    CAPTURE(b);
    CHECK(tidegate::config::edit_distance(a, b) == plain_distance(a, b));
  }
}

TEST_CASE("config: a preset sets budget and lives, and keys beside it win in any order") {
  const auto plain = parse_config(R"({"cache.preset": "small"})");
  REQUIRE(plain);
  CHECK(plain->engine.cache.memory.capacity_bytes == 2'252'800);
  CHECK(plain->engine.cache.time_to_live == std::chrono::hours(1));
  CHECK(plain->engine.cache.tier_time_to_live == std::chrono::hours(7 * 24));
  for (const std::string json : {R"({"cache.preset": "large", "cache.time_to_live_ms": 5000})",
                                 R"({"cache.time_to_live_ms": 5000, "cache": {"preset": "large"}})"}) {
    const auto config = parse_config(json);
    REQUIRE(config);
    CHECK(config->engine.cache.time_to_live == std::chrono::seconds(5));
    CHECK(config->engine.cache.memory.capacity_bytes == 112'640'000);
  }
  const auto wide = parse_config(R"({"cache.preset_answer_bytes": 3072, "cache.preset": "small"})");
  REQUIRE(wide);
  CHECK(wide->engine.cache.memory.capacity_bytes == 1000 * (3072 + 512) / 10 * 11);
  const auto none = parse_config(R"({"cache.preset": "", "cache.preset_answer_bytes": 3072})");
  REQUIRE(none);
  CHECK(none->engine.cache.memory.capacity_bytes == EngineConfig{}.engine.cache.memory.capacity_bytes);
}

TEST_CASE("config: a preset is applied when it is given, not again with later keys") {
  const auto base = parse_config(R"({"cache.preset": "small", "cache.memory.capacity_bytes": 4096})");
  REQUIRE(base);
  const auto later = tidegate::merge_config(*base, R"({"drain_timeout_ms": 7})");
  REQUIRE(later);
  CHECK(later->engine.cache.memory.capacity_bytes == 4096);
  const auto other = tidegate::merge_config(*base, R"({"cache.preset": "large"})");
  REQUIRE(other);
  CHECK(other->engine.cache.memory.capacity_bytes == 112'640'000);
  const auto again = parse_config(tidegate::dump_config(*base));
  REQUIRE(again);
  CHECK(again->cache_preset == "small");
  CHECK(again->engine.cache.memory.capacity_bytes == 4096);
}

TEST_CASE("config: the error of an unknown preset lists the known ones") {
  CHECK(error_of(R"({"cache.preset": "medium"})") ==
        "key 'cache.preset' must be empty or one of small|large, not 'medium'");
  CHECK(error_of(R"({"cache.preset": "lage"})") ==
        "key 'cache.preset' must be empty or one of small|large, not 'lage'; the nearest is 'large'");
}

TEST_CASE("config: a model has a semantic tier where it names an embedder, with every option of it") {
  const auto model = parse_model_config(R"({"name": "a", "kind": "synthetic", "semantic": {"embedder": "e",
      "threshold_permille": 930, "false_hit_budget_ppm": 25000, "audited_percent": 7, "capacity_bytes": 2097152,
      "time_to_live_ms": 9000, "flat_limit": 77}})");
  REQUIRE(model);
  REQUIRE(model->options.semantic);
  const tidegate::SemanticCacheOptions& semantic = *model->options.semantic;
  CHECK(semantic.embedder == "e");
  CHECK(semantic.threshold == doctest::Approx(0.93));
  CHECK(semantic.false_hit_budget == doctest::Approx(0.025));
  CHECK(semantic.audited_percent == 7);
  CHECK(semantic.capacity_bytes == 2'097'152);
  CHECK(semantic.time_to_live == std::chrono::seconds(9));
  CHECK(semantic.flat_limit == 77);
  EngineConfig config;
  config.models.push_back(*model);
  const auto again = parse_config(tidegate::dump_config(config));
  REQUIRE(again);
  CHECK(again->models[0].options.semantic->threshold == semantic.threshold);
  const auto off = parse_model_config(R"({"name": "a", "kind": "synthetic", "semantic.flat_limit": 77})");
  REQUIRE(off);
  CHECK(off->options.semantic->embedder.empty());
  CHECK(model_error_of(R"({"name": "a", "kind": "synthetic", "semantic.threshold_permille": 499})") ==
        "key 'semantic.threshold_permille' must be an integer from 500 to 1000, not 499");
}
