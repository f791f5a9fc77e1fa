// What models have of the caches by their description: the semantic tier, and a part of the memory.
#include <atomic>
#include <string>

#include "c_api.hpp"

using namespace capi_test;

namespace {

/// Two host models: "embed" gives every text the same direction, "chat" the same answer.
struct Chat {
  HostModel embed{[](tidegate_batch* batch) { return answer_all(batch); }};
  HostModel chat{[this](tidegate_batch* batch) {
    const std::int64_t shape[1] = {1};
    const float value = 7;
    auto view = initialised<tidegate_tensor_view>();
    view.dtype = TIDEGATE_DTYPE_F32;
    view.rank = 1;
    view.shape = shape;
    view.data = &value;
    view.bytes = sizeof value;
    computed += static_cast<int>(tidegate_batch_size(batch));
    for (std::uint32_t i = 0; i < tidegate_batch_size(batch); ++i) {
      REQUIRE(tidegate_batch_answer(batch, i, &view, 1) == TIDEGATE_OK);
    }
    return TIDEGATE_OK;
  }};
  std::atomic<int> computed{0};
};

tidegate_status serve(const Runtime& runtime, const std::string& name, HostModel& host, const std::string& json,
                      tidegate_model** model, tidegate_error** err = nullptr) {
  const tidegate_backend table = host.table();
  return tidegate_model_register(runtime.get(), name.data(), name.size(), json.data(), json.size(), &table, model, err);
}

struct Said {
  tidegate_source source = 0;
  float similarity = 0;
};

Said ask(const Runtime& runtime, const Queue& cq, const tidegate_model* model, const std::string& text,
         const tidegate_request_options& options) {
  REQUIRE(tidegate_submit_text(runtime.get(), model, text.data(), text.size(), &options, cq.get(), 1, nullptr, nullptr,
                               nullptr) == TIDEGATE_OK);
  const tidegate_completion record = next(cq);
  CHECK(record.status == TIDEGATE_OK);
  auto timing = initialised<tidegate_timing>();
  REQUIRE(tidegate_result_timing(record.result, &timing, nullptr) == TIDEGATE_OK);
  release(record);
  return {timing.source, timing.similarity};
}

constexpr const char* kSemantic = R"({"fingerprint": "chat 1", "semantic": {"embedder": "embed",
    "false_hit_budget_ppm": 500000, "audited_percent": 1}})";

}  // namespace

TEST_CASE("similar: a described semantic tier answers like questions, within what must be equal, and says so") {
  Chat models;
  const Runtime runtime = make_runtime();
  tidegate_model* embed = nullptr;
  tidegate_model* chat = nullptr;
  REQUIRE(serve(runtime, "embed", models.embed, "{}", &embed) == TIDEGATE_OK);
  REQUIRE(serve(runtime, "chat", models.chat, kSemantic, &chat) == TIDEGATE_OK);
  {
    const Queue cq = make_queue(runtime);
    auto options = initialised<tidegate_request_options>();
    options.cache = TIDEGATE_CACHE_SIMILAR;
    options.similar_within = "a system prompt";
    options.similar_within_length = TIDEGATE_NUL;
    // Three right trials and the answer of a like question will do.
    for (const char* word : {"do", "can", "could", "would"}) {
      const Said said = ask(runtime, cq, chat, std::string("how ") + word + " I reset my password", options);
      CHECK(said.source == TIDEGATE_SOURCE_MODEL);
      CHECK(said.similarity == 0);
    }
    const int computed = models.computed;
    const Said said = ask(runtime, cq, chat, "how may I reset my password", options);
    CHECK(said.source == TIDEGATE_SOURCE_SIMILAR);
    CHECK(said.similarity > 0.99F);
    CHECK(models.computed == computed);
    options.similar_within = "another prompt";
    CHECK(ask(runtime, cq, chat, "how should I reset my password", options).source == TIDEGATE_SOURCE_MODEL);
    options.similar_within = nullptr;
    options.similar_within_length = 0;
    options.cache = TIDEGATE_CACHE_USE;
    CHECK(ask(runtime, cq, chat, "how will I reset my password", options).source == TIDEGATE_SOURCE_MODEL);
  }
  char* text = nullptr;
  REQUIRE(tidegate_metrics_render(runtime.get(), &text, nullptr, nullptr) == TIDEGATE_OK);
  CHECK(std::string(text).find("tidegate_semantic_hits_total{model=\"chat\"} 1") != std::string::npos);
  tidegate_free(text);
  tidegate_model_release(chat);
  tidegate_model_release(embed);
}

TEST_CASE("similar: options and descriptions that cannot be meant are refused") {
  Chat models;
  const Runtime runtime = make_runtime();
  tidegate_error* err = nullptr;
  CHECK(serve(runtime, "chat", models.chat, kSemantic, nullptr, &err) == TIDEGATE_E_NOT_FOUND);
  CHECK(take_text(err) == "model 'chat', semantic.embedder 'embed': the engine serves no such model; add it first");
  REQUIRE(serve(runtime, "embed", models.embed, "{}", nullptr) == TIDEGATE_OK);
  const Queue cq = make_queue(runtime);
  auto options = initialised<tidegate_request_options>();
  options.cache = TIDEGATE_CACHE_SIMILAR + 1;
  CHECK(submit(runtime, cq, "a", 1, nullptr, &options) == TIDEGATE_E_INVALID);
  const std::string long_text(4097, 'x');
  options.cache = TIDEGATE_CACHE_SIMILAR;
  options.similar_within = long_text.c_str();
  options.similar_within_length = long_text.size();
  CHECK(submit(runtime, cq, "a", 1, nullptr, &options) == TIDEGATE_E_INVALID);
  options.similar_within_length = 4096;
  CHECK(submit(runtime, cq, "a", 1, nullptr, &options) == TIDEGATE_OK);
  release(next(cq));
}

TEST_CASE("shares: a described model has the part of the memory it asks for, and statistics tell") {
  Chat models;
  const Runtime runtime =
      make_runtime(R"({"cache.preset": "small", "cache.memory": {"capacity_bytes": 4194304, "per_model": "on"},
                       "cache.negative_time_to_live_ms": 0})");
  REQUIRE(serve(runtime, "one", models.embed, R"({"fingerprint": "1", "cache.share.max_bytes": 1048576})", nullptr) ==
          TIDEGATE_OK);
  REQUIRE(serve(runtime, "two", models.chat, R"({"cache.share": {"min_bytes": 2097152}})", nullptr) == TIDEGATE_OK);
  tidegate_error* err = nullptr;
  HostModel third{[](tidegate_batch* batch) { return answer_all(batch); }};
  CHECK(serve(runtime, "three", third, R"({"cache.share.min_bytes": 2097153})", nullptr, &err) == TIDEGATE_E_INVALID);
  CHECK(take_text(err).find("model 'three': cache.share.min_bytes is 2097153; it must be 0 to ") == 0);
  char* text = nullptr;
  REQUIRE(tidegate_runtime_stats_json(runtime.get(), &text, nullptr, nullptr) == TIDEGATE_OK);
  const std::string stats(text);
  tidegate_free(text);
  CHECK(stats.find(R"("model":"one","bytes":1048576,)") != std::string::npos);
  CHECK(stats.find(R"("max_bytes":1048576,)") != std::string::npos);
  CHECK(stats.find(R"("model":"two","bytes":3145728,"min_bytes":2097152)") != std::string::npos);
}
