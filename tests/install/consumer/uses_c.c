/* A C program that knows Tidegate only as installed. */
#include <stdio.h>
#include <string.h>
#include <tidegate/tidegate.h>

static int fail(const char* what, tidegate_error* err) {
  fprintf(stderr, "%s: %s\n", what, tidegate_error_message(err, NULL));
  tidegate_error_release(err);
  return 1;
}

int main(void) {
  static const char model[] = "{\"name\": \"m\", \"kind\": \"synthetic\", \"synthetic.dimension\": 4}";
  tidegate_runtime* runtime = NULL;
  tidegate_request* request = NULL;
  tidegate_result* result = NULL;
  tidegate_error* err = NULL;
  int code = 1;
  if (tidegate_runtime_create(NULL, &runtime, &err) < 0) return fail("runtime", err);
  if (tidegate_model_load(runtime, model, TIDEGATE_NUL, NULL, &err) < 0) return fail("model", err);
  if (tidegate_request_create(runtime, NULL, &request, &err) < 0) return fail("request", err);
  if (tidegate_request_set_text(request, "hello", TIDEGATE_NUL, &err) < 0) return fail("text", err);
  if (tidegate_infer(request, &result, &err) < 0) return fail("infer", err);
  if (tidegate_result_output_count(result) == 1) code = 0;
  tidegate_result_release(result);
  tidegate_request_release(request);
  tidegate_runtime_release(runtime);
  return code;
}
