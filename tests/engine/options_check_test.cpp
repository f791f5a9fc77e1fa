#include "engine/options_check.hpp"

#include <doctest/doctest.h>

#include <limits>

using namespace tidegate;

namespace {

template <class Options>
void refused(const Options& options, const std::string& names) {
  const auto result = check_options(options);
  REQUIRE_FALSE(result);
  CHECK(result.error().code() == ErrorCode::invalid_argument);
  CHECK_MESSAGE(result.error().message().find(names) != std::string_view::npos, result.error().message());
}

}  // namespace

TEST_CASE("options: the defaults are valid") {
  CHECK(check_options(EngineOptions{}));
  CHECK(check_options(ModelOptions{}));
  CHECK(check_options(ReplicaOptions{}));
}

TEST_CASE("options: a refused value is named") {
  refused(ModelOptions{.batching = {.max_batch_size = 0}}, "batching.max_batch_size is 0");
  refused(ModelOptions{.batching = {.max_batch_tokens = 0}}, "batching.max_batch_tokens");
  refused(ModelOptions{.batching = {.max_queue_delay = Duration(-1)}}, "batching.max_queue_delay");
  refused(ModelOptions{.admission = {.max_queued_items = 0}}, "admission.max_queued_items");
  refused(ModelOptions{.admission = {.max_queued_tokens = 0}}, "admission.max_queued_tokens");
  refused(ModelOptions{.admission = {.max_queued_bytes = 0}}, "admission.max_queued_bytes");
  refused(ModelOptions{.admission = {.max_tenants = 0}}, "admission.max_tenants");
  refused(ModelOptions{.admission = {.max_tenants = (1 << 20) + 1}}, "admission.max_tenants");
  refused(ModelOptions{.admission = {.max_tenants = 1, .tenants = {{.name = "a"}, {.name = "b"}}}},
          "admission.max_tenants");
  refused(ReplicaOptions{.concurrency = 0}, "replica.concurrency");
  refused(ReplicaOptions{.weight = 0}, "replica.weight");
  refused(ReplicaOptions{.weight = std::numeric_limits<double>::quiet_NaN()}, "replica.weight");
  refused(EngineOptions{.cache = {.memory = {.shards = 3}}}, "cache.memory.shards is 3");
  refused(EngineOptions{.cache = {.time_to_live = Duration(0)}}, "cache.time_to_live");
  refused(EngineOptions{.cache = {.time_to_live_jitter_percent = 51}}, "cache.time_to_live_jitter_percent");
  refused(EngineOptions{.cache = {.tiers = {nullptr}}}, "cache.tiers[0]");
  refused(EngineOptions{.drain_timeout = Duration(-1)}, "drain_timeout");
}
