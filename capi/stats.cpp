// Statistics as JSON and as Prometheus text.
#include "arguments.hpp"
#include "json_writer.hpp"
#include "runtime.hpp"
#include "tidegate/runtime.h"

using namespace tidegate::capi;  // NOLINT: the C functions below are the API of this namespace
using tidegate::Result;

namespace {

void write_requests(JsonWriter& json, Runtime& runtime) {
  const RequestTable::Counts counts = runtime.requests()->counts();
  json.key("requests").open('{');
  json.member("submitted", counts.submitted).member("completed", counts.completed);
  json.member("in_flight", counts.in_flight).close('}');
  json.member("open_streams", runtime.streams().size());
}

void write_caches(JsonWriter& json, const std::vector<tidegate::CacheTierStats>& tiers) {
  json.key("cache").open('[');
  for (const tidegate::CacheTierStats& tier : tiers) {
    json.open('{').member("hits", tier.hits).member("misses", tier.misses).member("expired", tier.expired);
    json.member("stale", tier.stale);
    json.member("inserted", tier.inserted).member("evicted", tier.evicted).member("rejected", tier.rejected);
    json.member("entries", tier.entries).member("bytes", tier.bytes);
    json.member("corrupt", tier.corrupt).member("late", tier.late).member("dropped", tier.dropped);
    json.member("failed", tier.failed).member("resets", tier.resets).member("troubled", tier.troubled);
    json.member("pinned", tier.pinned).close('}');
  }
  json.close(']');
}

void write_curve(JsonWriter& json, const std::vector<tidegate::CacheCurvePoint>& points) {
  json.key("cache_curve").open('[');
  for (const tidegate::CacheCurvePoint& point : points) {
    json.open('{').member("policy", to_string(point.policy)).member("capacity_bytes", point.capacity_bytes);
    json.member("requests", point.requests).member("hits", point.hits).close('}');
  }
  json.close(']');
}

void write_shares(JsonWriter& json, const std::vector<tidegate::CacheShareStats>& shares) {
  json.key("cache_shares").open('[');
  for (const tidegate::CacheShareStats& share : shares) {
    json.open('{').member("model", share.model).member("bytes", share.bytes);
    json.member("min_bytes", share.min_bytes).member("max_bytes", share.max_bytes);
    json.member("used_bytes", share.memory.bytes).member("entries", share.memory.entries);
    json.member("hits", share.memory.hits).member("misses", share.memory.misses).close('}');
  }
  json.close(']');
}

void write_sample(JsonWriter& json, const tidegate::MetricSample& sample) {
  json.open('{').member("name", sample.name).key("labels").open('{');
  for (const auto& [name, value] : sample.labels) json.member(name, value);
  json.close('}');
  if (sample.kind == tidegate::MetricKind::histogram) {
    json.key("sum").number(sample.value).member("count", sample.count).key("buckets").open('[');
    for (const auto& [bound, count] : sample.buckets) json.open('[').number(bound).number(count).close(']');
    json.close(']');
  } else {
    json.key("value").number(sample.value);
  }
  json.close('}');
}

std::string write_stats(Runtime& runtime, const tidegate::Engine& engine) {
  JsonWriter json;
  json.open('{');
  write_requests(json, runtime);
  write_caches(json, engine.cache_stats());
  if (const auto points = engine.cache_curve()) write_curve(json, *points);
  if (const auto shares = engine.cache_shares()) write_shares(json, *shares);
  json.key("metrics").open('[');
  for (const tidegate::MetricSample& sample : engine.metrics().samples) write_sample(json, sample);
  json.close(']').close('}');
  return std::move(json).text();
}

}  // namespace

tidegate_status tidegate_runtime_stats_json(tidegate_runtime* runtime, char** text, size_t* length,
                                            tidegate_error** err) noexcept {
  return guarded(err, [&]() -> Result<void> {
    if (auto ok = check_output(text, "text"); !ok) return ok;
    if (auto ok = check(runtime, "runtime"); !ok) return ok;
    auto engine = runtime->runtime->use();
    if (!engine) return engine.error();
    give_text(write_stats(*runtime->runtime, **engine), text, length);
    return {};
  });
}

tidegate_status tidegate_metrics_render(tidegate_runtime* runtime, char** text, size_t* length,
                                        tidegate_error** err) noexcept {
  return guarded(err, [&]() -> Result<void> {
    if (auto ok = check_output(text, "text"); !ok) return ok;
    if (auto ok = check(runtime, "runtime"); !ok) return ok;
    auto engine = runtime->runtime->use();
    if (!engine) return engine.error();
    give_text(tidegate::to_prometheus((*engine)->metrics()), text, length);
    return {};
  });
}
