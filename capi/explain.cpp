// The decisions of a model's queue as JSON.
#include <algorithm>

#include "arguments.hpp"
#include "json_writer.hpp"
#include "runtime.hpp"
#include "tidegate/model.h"
#include "tidegate/queue.hpp"
#include "tidegate/scaling.hpp"

using namespace tidegate::capi;  // NOLINT: the C functions below are the API of this namespace
using tidegate::Result;

namespace {

std::uint64_t ns(tidegate::Duration time) {
  return static_cast<std::uint64_t>(std::max<tidegate::Duration::rep>(0, time.count()));
}

void write_decision(JsonWriter& json, const tidegate::BatchDecision& one) {
  json.open('{').member("number", one.number).member("trigger", to_string(one.trigger));
  json.member("stopped_by", to_string(one.fullness)).member("opened_by", to_string(one.opened_by));
  json.member("items", one.items).member("rows", one.rows).member("tokens", one.tokens);
  json.member("longest", one.longest).member("passed_over", one.passed_over).member("left", one.left);
  json.member("running", one.running).member("oldest_wait_ns", ns(one.oldest_wait));
  if (one.slack != tidegate::Duration::max()) json.member("slack_ns", ns(one.slack));
  json.member("predicted_ns", ns(one.predicted)).member("predicted95_ns", ns(one.predicted95));
  json.member("filler_rows", one.filler_rows).member("newest_first", std::uint64_t{one.newest_first ? 1U : 0U});
  json.member("cut_items", one.cut_items).member("cut_from_ns", ns(one.cut_from)).member("cut_to_ns", ns(one.cut_to));
  json.member("alone_ns", ns(one.alone)).member("actual_ns", ns(one.actual));
  json.member("text", tidegate::to_text(one)).close('}');
}

void write_profile(JsonWriter& json, const tidegate::LatencyProfile& profile) {
  json.key("profile")
      .open('{')
      .member("source", to_string(profile.source))
      .member("samples", profile.samples)
      .member("drifts", profile.drifts);
  json.key("base_ns").number(profile.base_ns).key("per_token_ns").number(profile.per_token_ns);
  json.key("per_square_ns").number(profile.per_square_ns).key("per_row_ns").number(profile.per_row_ns);
  json.key("tail95").number(profile.tail95).key("tail99").number(profile.tail99).close('}');
}

void write_rate(JsonWriter& json, const char* key, const tidegate::LaneRate& rate) {
  json.key(key).open('{').key("items_per_s").number(rate.items).key("tokens_per_s").number(rate.tokens).close('}');
}

void write_shape(JsonWriter& json, const tidegate::ShapeReview& review) {
  json.key("shape").open('{').member("replicas", review.shape.replicas).member("threads", review.shape.threads);
  json.member("why", review.why).close('}');
}

void write_load(JsonWriter& json, const tidegate::ScalingSnapshot& snapshot) {
  const tidegate::LaneLoad& lane = snapshot.lanes.front();
  json.key("load").open('{').member("replicas", static_cast<std::uint64_t>(snapshot.spec_replicas));
  json.member("slots", lane.slots).member("queued_items", lane.queued_items);
  json.member("queued_tokens", lane.queued_tokens)
      .member("slo_ns", ns(lane.slo))
      .member("observed_ns", ns(lane.observed));
  write_rate(json, "arrivals_10s", lane.arrivals_10s);
  write_rate(json, "arrivals_60s", lane.arrivals_60s);
  write_rate(json, "served_10s", lane.served_10s);
  json.key("utilization_10s").number(lane.utilization_10s).close('}');
}

}  // namespace

tidegate_status tidegate_model_explain_json(const tidegate_model* model, char** text, size_t* length,
                                            tidegate_error** err) noexcept {
  return guarded(err, [&]() -> Result<void> {
    if (auto ok = check_output(text, "text"); !ok) return ok;
    if (auto ok = check(model, "model"); !ok) return ok;
    auto engine = model->runtime->use();
    if (!engine) return engine.error();
    const auto decisions = (*engine)->explain(model->name);
    if (!decisions) return decisions.error();
    const auto profile = (*engine)->latency_profile(model->name);
    if (!profile) return profile.error();
    const auto snapshot = (*engine)->scaling_snapshot(model->name);
    if (!snapshot) return snapshot.error();
    const auto shape = (*engine)->shape(model->name);
    JsonWriter json;
    json.open('{');
    if (shape) write_shape(json, *shape);
    write_profile(json, *profile);
    write_load(json, *snapshot);
    json.key("decisions").open('[');
    for (const tidegate::BatchDecision& one : *decisions) write_decision(json, one);
    json.close(']').close('}');
    give_text(std::move(json).text(), text, length);
    return {};
  });
}
