/* Embeds texts through the C ABI.
 *
 *   embed [--model FOLDER] [TEXT...]
 *
 * Without a model folder a synthetic model answers, so that the program runs
 * anywhere. Exit status: 0 all answered, 1 a text failed, 2 wrong use or no model.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tidegate/tidegate.h>

#define MAX_TEXTS 64

static int complain(const char* what, tidegate_error* err) {
  fprintf(stderr, "embed: %s: %s\n", what, tidegate_error_message(err, NULL));
  tidegate_error_release(err);
  return 2;
}

/* `text` as a JSON string in `out`; 0 if it does not fit. */
static int quote(const char* text, char* out, size_t size) {
  size_t n = 0;
  out[n++] = '"';
  for (; *text != '\0'; ++text) {
    if (n + 8 > size) return 0;
    if (*text == '"' || *text == '\\') out[n++] = '\\';
    if ((unsigned char)*text < 0x20) {
      n += (size_t)snprintf(out + n, 7, "\\u%04x", (unsigned)*text);
    } else {
      out[n++] = *text;
    }
  }
  out[n++] = '"';
  out[n] = '\0';
  return 1;
}

static tidegate_status load_model(tidegate_runtime* runtime, const char* folder, tidegate_error** err) {
  char quoted[4096];
  char json[4400] = "{\"name\": \"demo\", \"kind\": \"synthetic\", \"synthetic.dimension\": 8}";
  if (folder != NULL) {
    if (!quote(folder, quoted, sizeof quoted)) return TIDEGATE_E_INVALID;
    snprintf(json, sizeof json, "{\"name\": \"text\", \"kind\": \"encoder\", \"folder\": %s}", quoted);
  }
  return tidegate_model_load(runtime, json, TIDEGATE_NUL, NULL, err);
}

static void print_answer(const char* text, const tidegate_completion* record) {
  tidegate_tensor_view view;
  const float* numbers;
  uint64_t i, n;
  TIDEGATE_INIT(&view);
  tidegate_result_output(record->result, 0, &view, NULL);
  numbers = (const float*)view.data;
  n = view.bytes / sizeof(float);
  printf("%s: %" PRIu64 " numbers:", text, n);
  for (i = 0; i < n && i < 4; ++i) printf(" %.5f", numbers[i]);
  printf(" ...\n");
}

/* Drains until `pending` requests have ended; answers how many failed. */
static int collect(tidegate_cq* cq, char* const* texts, size_t pending) {
  tidegate_completion records[16];
  struct pollfd readable = {0, POLLIN, 0};
  int failed = 0;
  readable.fd = tidegate_cq_fd(cq);
  while (pending > 0) {
    size_t n = 0, i;
    if (poll(&readable, 1, -1) < 0) continue;
    if (tidegate_cq_drain(cq, records, sizeof records[0], 16, &n) < 0) return 1;
    for (i = 0; i < n; ++i, --pending) {
      const char* text = texts[records[i].tag];
      if (records[i].status == TIDEGATE_OK) {
        print_answer(text, &records[i]);
      } else {
        fprintf(stderr, "embed: %s: %s\n", text, tidegate_error_message(records[i].error, NULL));
        ++failed;
      }
      tidegate_result_release(records[i].result);
      tidegate_error_release(records[i].error);
    }
  }
  return failed;
}

static int embed(tidegate_runtime* runtime, char* const* texts, size_t count) {
  tidegate_error* err = NULL;
  tidegate_cq* cq = NULL;
  size_t i, accepted = 0;
  int failed = 0;
  if (tidegate_cq_create(runtime, &cq, &err) < 0) return complain("completion queue", err);
  for (i = 0; i < count; ++i) {
    if (tidegate_submit_text(runtime, NULL, texts[i], TIDEGATE_NUL, NULL, cq, i, NULL, NULL, &err) < 0) {
      (void)complain(texts[i], err);
      ++failed;
    } else {
      ++accepted;
    }
  }
  failed += collect(cq, texts, accepted);
  tidegate_cq_release(cq);
  return failed == 0 ? 0 : 1;
}

int main(int argc, char** argv) {
  static char first[] = "The cat sat on the mat.", second[] = "A feline rested on the rug.", third[] = "42";
  char* samples[] = {first, second, third};
  tidegate_runtime* runtime = NULL;
  tidegate_error* err = NULL;
  const char* folder = NULL;
  int status, at = 1;
  if (at + 1 < argc && strcmp(argv[at], "--model") == 0) {
    folder = argv[at + 1];
    at += 2;
  }
  if (argc - at > MAX_TEXTS || (at < argc && argv[at][0] == '-')) {
    fprintf(stderr, "usage: embed [--model FOLDER] [TEXT...]\n");
    return 2;
  }
  if (tidegate_check_abi(&err) < 0) return complain("library", err);
  if (tidegate_runtime_create(NULL, &runtime, &err) < 0) return complain("runtime", err);
  if (load_model(runtime, folder, &err) < 0) {
    tidegate_runtime_release(runtime);
    return complain("model", err);
  }
  status = at < argc ? embed(runtime, argv + at, (size_t)(argc - at)) : embed(runtime, samples, 3);
  if (tidegate_runtime_shutdown(runtime, 5000000000, &err) < 0) (void)complain("shutdown", err);
  tidegate_runtime_release(runtime);
  return status;
}
