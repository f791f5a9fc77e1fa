/* The C ABI as a C11 program sees it: layouts, and one life of everything. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tidegate/tidegate.h>

#define OFFSET(type, field, value) _Static_assert(offsetof(type, field) == (value), #type "." #field " moved")

/* Layouts of ABI 1.0. A line here never changes; fields are appended only. */
OFFSET(tidegate_completion, tag, 0);
OFFSET(tidegate_completion, id, 8);
OFFSET(tidegate_completion, kind, 16);
OFFSET(tidegate_completion, status, 20);
OFFSET(tidegate_completion, result, 24);
OFFSET(tidegate_completion, error, 32);
OFFSET(tidegate_completion, done_ns, 40);
OFFSET(tidegate_completion, reserved, 48);
_Static_assert(sizeof(tidegate_completion) == 64, "completion");
OFFSET(tidegate_request_options, struct_size, 0);
OFFSET(tidegate_request_options, flags, 4);
OFFSET(tidegate_request_options, timeout_ns, 8);
OFFSET(tidegate_request_options, deadline_ns, 16);
OFFSET(tidegate_request_options, cache, 24);
OFFSET(tidegate_request_options, priority, 28);
OFFSET(tidegate_request_options, tenant, 32);
OFFSET(tidegate_request_options, tenant_length, 40);
OFFSET(tidegate_request_options, ordering_key, 48);
OFFSET(tidegate_request_options, ordering_key_length, 56);
OFFSET(tidegate_request_options, cache_tag, 64);
OFFSET(tidegate_request_options, cache_tag_length, 72);
OFFSET(tidegate_request_options, similar_within, 80);
OFFSET(tidegate_request_options, similar_within_length, 88);
OFFSET(tidegate_request_options, version, 96);
OFFSET(tidegate_request_options, reserved, 100);
OFFSET(tidegate_request_options, admit_timeout_ns, 104);
_Static_assert(sizeof(tidegate_request_options) == 112, "request_options");
OFFSET(tidegate_queue_room, waiting, 4);
OFFSET(tidegate_queue_room, items, 8);
OFFSET(tidegate_queue_room, retry_after_ns, 32);
_Static_assert(sizeof(tidegate_queue_room) == 40, "queue_room");
OFFSET(tidegate_cache_scope, model, 8);
OFFSET(tidegate_cache_scope, model_length, 16);
OFFSET(tidegate_cache_scope, tag, 24);
OFFSET(tidegate_cache_scope, tag_length, 32);
OFFSET(tidegate_cache_scope, version, 40);
_Static_assert(sizeof(tidegate_cache_scope) == 48, "cache_scope");
OFFSET(tidegate_tensor_view, struct_size, 0);
OFFSET(tidegate_tensor_view, dtype, 4);
OFFSET(tidegate_tensor_view, rank, 8);
OFFSET(tidegate_tensor_view, reserved, 12);
OFFSET(tidegate_tensor_view, shape, 16);
OFFSET(tidegate_tensor_view, data, 24);
OFFSET(tidegate_tensor_view, bytes, 32);
_Static_assert(sizeof(tidegate_tensor_view) == 40, "tensor_view");
OFFSET(tidegate_timing, source, 4);
OFFSET(tidegate_timing, queue_ns, 8);
OFFSET(tidegate_timing, run_ns, 16);
OFFSET(tidegate_timing, total_ns, 24);
OFFSET(tidegate_timing, batch_size, 32);
OFFSET(tidegate_timing, cache_tier, 36);
OFFSET(tidegate_timing, replica, 40);
OFFSET(tidegate_timing, dispatch_ns, 48);
OFFSET(tidegate_timing, variant, 56);
OFFSET(tidegate_timing, variant_length, 64);
OFFSET(tidegate_timing, parts, 72);
OFFSET(tidegate_timing, similarity, 76);
_Static_assert(sizeof(tidegate_timing) == 80, "timing");
OFFSET(tidegate_backend, ctx, 8);
OFFSET(tidegate_backend, run_batch, 16);
OFFSET(tidegate_backend, destroy, 24);
OFFSET(tidegate_backend, iterative, 32);
OFFSET(tidegate_backend, reserved2, 36);
OFFSET(tidegate_backend, release_state, 40);
_Static_assert(sizeof(tidegate_backend) == 48, "backend");
OFFSET(tidegate_step_size, rows, 4);
OFFSET(tidegate_step_size, tokens, 8);
_Static_assert(sizeof(tidegate_step_size) == 16, "step_size");
OFFSET(tidegate_stream_options, buffer_chunks, 4);
OFFSET(tidegate_stream_options, buffer_bytes, 8);
_Static_assert(sizeof(tidegate_stream_options) == 16, "stream_options");

#define CHECK(condition)                                                                  \
  do {                                                                                    \
    if (!(condition)) {                                                                   \
      fprintf(stderr, "%s:%d: %s is false\n", __FILE__, __LINE__, #condition);            \
      if (err != NULL) fprintf(stderr, "error: %s\n", tidegate_error_message(err, NULL)); \
      exit(1);                                                                            \
    }                                                                                     \
  } while (0)

static tidegate_error* err = NULL;

static void check_library(void) {
  CHECK(tidegate_check_abi(&err) == TIDEGATE_OK && err == NULL);
  CHECK(tidegate_abi_version() == ((1u << 16) | 0u));
  CHECK(tidegate_require_abi(2u << 16, &err) == TIDEGATE_E_VERSION);
  CHECK(strstr(tidegate_error_message(err, NULL), "2.0") != NULL);
  CHECK(strstr(tidegate_error_message(err, NULL), "libtidegate.so") != NULL);
  CHECK(strcmp(tidegate_error_detail(err, "retryable", NULL), "0") == 0);
  CHECK(tidegate_error_detail(err, "retry_after_ns", NULL) == NULL);
  tidegate_error_release(err);
  err = NULL;
  CHECK(tidegate_require_abi((1u << 16) | 1u, NULL) == TIDEGATE_E_VERSION);
  CHECK(strcmp(tidegate_status_name(TIDEGATE_E_QUEUE_FULL), "queue_full") == 0);
  CHECK(strcmp(tidegate_status_name(TIDEGATE_DONE), "done") == 0);
  CHECK(strcmp(tidegate_status_name(-9999), "unknown") == 0);
  CHECK(tidegate_status_http(TIDEGATE_DONE) == 200 && tidegate_status_grpc(TIDEGATE_OK) == 0);
  CHECK(tidegate_status_http(TIDEGATE_E_QUEUE_FULL) == 429 && tidegate_status_grpc(TIDEGATE_E_QUEUE_FULL) == 8);
  CHECK(tidegate_status_http(TIDEGATE_E_NO_MEMORY) == 503 && tidegate_status_grpc(TIDEGATE_E_NO_MEMORY) == 14);
  CHECK(tidegate_status_http(TIDEGATE_E_DEADLINE) == 504 && tidegate_status_grpc(TIDEGATE_E_DEADLINE) == 4);
  CHECK(tidegate_status_http(-9999) == 500 && tidegate_status_grpc(-9999) == 13);
  CHECK(strcmp(tidegate_build_info("version"), tidegate_version_string()) == 0);
  CHECK(tidegate_build_info("no such fact") == NULL);
  CHECK(tidegate_has_feature("cq.eventfd") == 1);
  CHECK(tidegate_has_feature("time.travel") == 0);
  CHECK(tidegate_has_feature("") == 0);
  CHECK(tidegate_clock_now_ns() <= tidegate_clock_now_ns());
}

static tidegate_runtime* make_runtime(void) {
  static const char models[] =
      "{\"models\": [{\"name\": \"m\", \"kind\": \"synthetic\", \"synthetic\": {\"dimension\": 5}}]}";
  tidegate_config* config = NULL;
  tidegate_runtime* runtime = NULL;
  char* text = NULL;
  size_t length = 0;
  CHECK(tidegate_config_create(&config, &err) == TIDEGATE_OK);
  CHECK(tidegate_config_merge_json(config, models, TIDEGATE_NUL, &err) == TIDEGATE_OK);
  CHECK(tidegate_config_dump_json(config, &text, &length, &err) == TIDEGATE_OK);
  CHECK(strlen(text) == length && strstr(text, "\"synthetic.dimension\": 5") != NULL);
  tidegate_free(text);
  CHECK(tidegate_config_schema_json(&length) != NULL && length > 100);
  CHECK(tidegate_runtime_create(config, &runtime, &err) == TIDEGATE_OK);
  tidegate_config_release(config);
  return runtime;
}

static void check_result(tidegate_result* result) {
  tidegate_tensor_view view;
  tidegate_timing timing;
  CHECK(tidegate_result_status(result) == TIDEGATE_OK);
  CHECK(tidegate_result_output_count(result) == 1);
  TIDEGATE_INIT(&view);
  CHECK(tidegate_result_output(result, 0, &view, &err) == TIDEGATE_OK);
  CHECK(view.struct_size == sizeof view && view.dtype == TIDEGATE_DTYPE_F32);
  CHECK(view.rank == 1 && view.shape[0] == 5 && view.bytes == 5 * sizeof(float) && view.data != NULL);
  CHECK(tidegate_result_output(result, 1, &view, NULL) == TIDEGATE_E_NOT_FOUND);
  TIDEGATE_INIT(&timing);
  CHECK(tidegate_result_timing(result, &timing, &err) == TIDEGATE_OK);
  CHECK(timing.source >= TIDEGATE_SOURCE_MODEL && timing.source <= TIDEGATE_SOURCE_CACHE && timing.total_ns >= 0);
}

static void check_requests(tidegate_runtime* runtime) {
  tidegate_cq* cq = NULL;
  tidegate_model* model = NULL;
  tidegate_request* request = NULL;
  tidegate_announcement* announcement = NULL;
  tidegate_result* result = NULL;
  tidegate_completion record;
  tidegate_request_options options;
  tidegate_queue_room room;
  uint64_t id = 0;
  size_t count = 0;
  struct pollfd readable = {0, POLLIN, 0};

  CHECK(tidegate_model_get(runtime, "m", 1, &model, &err) == TIDEGATE_OK);
  CHECK(tidegate_cq_create(runtime, &cq, &err) == TIDEGATE_OK);
  CHECK(tidegate_submit_text(runtime, model, "hello", 5, NULL, cq, 42, &id, NULL, &err) == TIDEGATE_OK);
  CHECK(id != 0);
  readable.fd = tidegate_cq_fd(cq);
  CHECK(poll(&readable, 1, -1) == 1);
  CHECK(tidegate_cq_drain(cq, &record, sizeof record, 1, &count) == TIDEGATE_OK && count == 1);
  CHECK(record.tag == 42 && record.id == id && record.kind == TIDEGATE_COMPLETION_INFER);
  CHECK(record.status == TIDEGATE_OK && record.error == NULL && record.done_ns > 0);
  check_result(record.result);
  tidegate_result_release(record.result);
  CHECK(tidegate_cancel(runtime, id) == TIDEGATE_E_NOT_FOUND);

  CHECK(tidegate_request_create(runtime, NULL, &request, &err) == TIDEGATE_OK);
  CHECK(tidegate_infer(request, &result, NULL) == TIDEGATE_E_INVALID && result == NULL);
  CHECK(tidegate_request_set_text(request, "hello", TIDEGATE_NUL, &err) == TIDEGATE_OK);
  CHECK(tidegate_infer(request, &result, &err) == TIDEGATE_OK);
  check_result(result);
  tidegate_result_release(result);

  TIDEGATE_INIT(&options);
  options.flags = TIDEGATE_MAY_COMPLETE_INLINE;
  options.version = TIDEGATE_MODEL_VERSION_PINNED;
  CHECK(tidegate_announce(runtime, model, &announcement, &err) == TIDEGATE_OK && announcement == NULL);
  tidegate_announcement_release(announcement);
  TIDEGATE_INIT(&room);
  CHECK(tidegate_capacity(runtime, model, &room, &err) == TIDEGATE_OK && room.items > 0);
  CHECK(tidegate_request_set_options(request, &options, &err) == TIDEGATE_OK);
  CHECK(tidegate_submit(request, cq, 43, &id, &result, &err) == TIDEGATE_DONE);
  CHECK(id == 0);
  check_result(result);
  /* A result outlives everything it came from. */
  tidegate_request_release(request);
  tidegate_cq_release(cq);
  tidegate_model_release(model);
  check_result(result);
  tidegate_result_release(result);
}

int main(void) {
  tidegate_runtime* runtime = NULL;
  char* text = NULL;
  check_library();
  runtime = make_runtime();
  check_requests(runtime);
  CHECK(tidegate_runtime_stats_json(runtime, &text, NULL, &err) == TIDEGATE_OK);
  CHECK(strstr(text, "\"submitted\":1") != NULL);
  tidegate_free(text);
  CHECK(tidegate_metrics_render(runtime, &text, NULL, &err) == TIDEGATE_OK);
  CHECK(strstr(text, "# TYPE ") != NULL);
  tidegate_free(text);
  CHECK(tidegate_runtime_shutdown(runtime, 5000000000, &err) == TIDEGATE_OK);
  CHECK(tidegate_runtime_shutdown(runtime, 0, &err) == TIDEGATE_OK);
  tidegate_runtime_release(runtime);
  puts("smoke: ok");
  return 0;
}
