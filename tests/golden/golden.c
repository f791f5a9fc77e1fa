/* The vectors of stored answers through the C ABI, as a C program sees them. Usage: golden FILE */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tidegate/tidegate.h>

enum { MOST_TENSORS = 64, MOST_RANK = 16, LONGEST_LINE = 1 << 16 };

typedef struct Vector {
  char name[128];
  uint8_t fingerprint[TIDEGATE_DIGEST_BYTES];
  uint8_t digest[TIDEGATE_DIGEST_BYTES];
  uint8_t* text; /* NULL = tensors */
  size_t text_length;
  tidegate_tensor_view tensors[MOST_TENSORS];
  int64_t shapes[MOST_TENSORS][MOST_RANK];
  uint32_t count;
  tidegate_record_facts facts;
  uint8_t* bytes;
  size_t length;
} Vector;

static int failures = 0;

static void expect(const Vector* vector, int good, const char* what) {
  if (good) return;
  ++failures;
  printf("%s: %s\n", vector->name, what);
}

static uint8_t* parse_hex(const char* hex, size_t* length) {
  size_t i;
  size_t const digits = strcmp(hex, "-") == 0 ? 0 : strlen(hex);
  uint8_t* const bytes = malloc(digits / 2 + 1);
  if (bytes == NULL) exit(2);
  for (i = 0; i < digits / 2; ++i) {
    unsigned value = 0;
    if (sscanf(hex + 2 * i, "%2x", &value) != 1) exit(2);
    bytes[i] = (uint8_t)value;
  }
  if (length != NULL) *length = digits / 2;
  return bytes;
}

static void parse_digest(const char* hex, uint8_t* digest) {
  uint8_t* const bytes = parse_hex(hex, NULL);
  memcpy(digest, bytes, TIDEGATE_DIGEST_BYTES);
  free(bytes);
}

static void parse_tensor(Vector* vector, char* rest) {
  tidegate_tensor_view* const view = &vector->tensors[vector->count];
  const char* const type = strtok(rest, " ");
  char* const dims = strtok(NULL, " ");
  const char* const hex = strtok(NULL, " ");
  char* one;
  size_t length = 0;
  if (type == NULL || dims == NULL || hex == NULL) exit(2);
  TIDEGATE_INIT(view);
  view->dtype = (tidegate_dtype)atoi(type);
  view->data = parse_hex(hex, &length);
  view->bytes = length;
  view->shape = vector->shapes[vector->count];
  if (strcmp(dims, "-") != 0) {
    for (one = strtok(dims, ","); one != NULL; one = strtok(NULL, ",")) {
      vector->shapes[vector->count][view->rank++] = (int64_t)strtoll(one, NULL, 10);
    }
  }
  ++vector->count;
}

static void check_key(const Vector* vector) {
  uint8_t key[TIDEGATE_DIGEST_BYTES];
  const tidegate_status status =
      vector->text != NULL
          ? tidegate_key_of_text(vector->fingerprint, (const char*)vector->text, vector->text_length, key, NULL)
          : tidegate_key_of_tensors(vector->fingerprint, vector->tensors, vector->count, key, NULL);
  expect(vector, status == TIDEGATE_OK, "no key");
  expect(vector, memcmp(key, vector->digest, sizeof key) == 0, "another key");
}

static void check_read(const Vector* vector, const char* record, size_t length) {
  tidegate_result* result = NULL;
  tidegate_record_facts facts;
  uint32_t i;
  TIDEGATE_INIT(&facts);
  expect(vector, tidegate_record_read(vector->digest, record, length, &facts, &result, NULL) == TIDEGATE_OK,
         "unreadable");
  expect(vector, facts.expires_unix_ms == vector->facts.expires_unix_ms, "another end");
  expect(vector, facts.recompute_ns <= vector->facts.recompute_ns, "another cost");
  expect(vector, tidegate_result_output_count(result) == vector->count, "another number of tensors");
  for (i = 0; i < vector->count; ++i) {
    const tidegate_tensor_view* const wanted = &vector->tensors[i];
    tidegate_tensor_view view;
    TIDEGATE_INIT(&view);
    expect(vector, tidegate_result_output(result, i, &view, NULL) == TIDEGATE_OK, "no tensor");
    expect(vector, view.dtype == wanted->dtype && view.rank == wanted->rank && view.bytes == wanted->bytes,
           "type or size");
    expect(vector, wanted->rank == 0 || memcmp(view.shape, wanted->shape, wanted->rank * sizeof(int64_t)) == 0,
           "shape");
    expect(vector, view.bytes == 0 || memcmp(view.data, wanted->data, (size_t)view.bytes) == 0, "elements");
  }
  tidegate_result_release(result);
}

/* Every byte of a record counts: flipped or cut, it is refused. */
static void check_damage(const Vector* vector, const char* record, size_t length) {
  char* const copy = malloc(length);
  size_t at;
  tidegate_result* result = NULL;
  uint8_t other[TIDEGATE_DIGEST_BYTES];
  if (copy == NULL) exit(2);
  memcpy(copy, record, length);
  for (at = 0; at < length; ++at) {
    copy[at] ^= 1;
    if (tidegate_record_read(vector->digest, copy, length, NULL, &result, NULL) != TIDEGATE_E_CORRUPT) break;
    copy[at] ^= 1;
  }
  expect(vector, at == length, "a flipped bit was not seen");
  expect(vector, tidegate_record_read(vector->digest, copy, length - 1, NULL, &result, NULL) == TIDEGATE_E_CORRUPT,
         "cut");
  memcpy(other, vector->digest, sizeof other);
  other[31] ^= 1;
  expect(vector, tidegate_record_read(other, copy, length, NULL, &result, NULL) == TIDEGATE_E_CORRUPT, "another's key");
  expect(vector, result == NULL, "a result of a damaged record");
  free(copy);
}

static void check_record(const Vector* vector) {
  char* record = NULL;
  size_t length = 0;
  expect(vector,
         tidegate_record_write(vector->digest, vector->tensors, vector->count, &vector->facts, &record, &length,
                               NULL) == TIDEGATE_OK,
         "no record");
  expect(vector, length == vector->length && memcmp(record, vector->bytes, length) == 0, "another record");
  if (record != NULL) {
    check_read(vector, record, length);
    check_damage(vector, record, length);
  }
  tidegate_free(record);
}

static void clear(Vector* vector) {
  uint32_t i;
  for (i = 0; i < vector->count; ++i) free((void*)vector->tensors[i].data);
  free(vector->text);
  free(vector->bytes);
  memset(vector, 0, sizeof *vector);
}

static void take_line(Vector* vector, const char* word, char* rest) {
  if (strcmp(word, "key") == 0 || strcmp(word, "record") == 0) {
    clear(vector);
    snprintf(vector->name, sizeof vector->name, "%s %s", word, rest);
    TIDEGATE_INIT(&vector->facts);
  }
  if (strcmp(word, "fingerprint") == 0) parse_digest(rest, vector->fingerprint);
  if (strcmp(word, "digest") == 0) parse_digest(rest, vector->digest);
  if (strcmp(word, "text") == 0) vector->text = parse_hex(rest, &vector->text_length);
  if (strcmp(word, "tensor") == 0) parse_tensor(vector, rest);
  if (strcmp(word, "expires_unix_ms") == 0) vector->facts.expires_unix_ms = (int64_t)strtoll(rest, NULL, 10);
  if (strcmp(word, "recompute_ns") == 0) vector->facts.recompute_ns = (int64_t)strtoll(rest, NULL, 10);
  if (strcmp(word, "bytes") == 0) vector->bytes = parse_hex(rest, &vector->length);
}

static void check_misuse(void) {
  Vector none;
  uint8_t digest[TIDEGATE_DIGEST_BYTES] = {0};
  tidegate_record_facts facts;
  tidegate_result* result = NULL;
  char* record = NULL;
  size_t length = 0;
  memset(&none, 0, sizeof none);
  strcpy(none.name, "misuse");
  TIDEGATE_INIT(&facts);
  expect(&none, tidegate_key_of_text(NULL, "x", 1, digest, NULL) == TIDEGATE_E_INVALID, "fingerprint NULL");
  expect(&none, tidegate_key_of_text(digest, NULL, 1, digest, NULL) == TIDEGATE_E_INVALID, "text NULL");
  expect(&none, tidegate_key_of_text(digest, "x", 1, NULL, NULL) == TIDEGATE_E_INVALID, "key NULL");
  expect(&none, tidegate_key_of_tensors(digest, NULL, 1, digest, NULL) == TIDEGATE_E_INVALID, "tensors NULL");
  expect(&none, tidegate_record_write(NULL, NULL, 0, &facts, &record, &length, NULL) == TIDEGATE_E_INVALID, "no key");
  expect(&none, tidegate_record_write(digest, NULL, 0, NULL, &record, &length, NULL) == TIDEGATE_E_INVALID, "no facts");
  expect(&none, tidegate_record_write(digest, NULL, 0, &facts, NULL, &length, NULL) == TIDEGATE_E_INVALID, "no place");
  expect(&none, tidegate_record_write(digest, NULL, 0, &facts, &record, NULL, NULL) == TIDEGATE_E_INVALID, "no length");
  facts.recompute_ns = -1;
  expect(&none, tidegate_record_write(digest, NULL, 0, &facts, &record, &length, NULL) == TIDEGATE_E_INVALID, "cost");
  facts.recompute_ns = 0;
  facts.reserved = 1;
  expect(&none, tidegate_record_write(digest, NULL, 0, &facts, &record, &length, NULL) == TIDEGATE_E_UNSUPPORTED,
         "reserved");
  expect(&none, tidegate_record_read(digest, NULL, 1, NULL, &result, NULL) == TIDEGATE_E_INVALID, "record NULL");
  expect(&none, tidegate_record_read(digest, "x", TIDEGATE_NUL, NULL, &result, NULL) == TIDEGATE_E_INVALID,
         "NUL length");
  expect(&none, tidegate_record_read(digest, "x", 1, NULL, NULL, NULL) == TIDEGATE_E_INVALID, "result NULL");
  expect(&none, tidegate_record_read(digest, "x", 1, NULL, &result, NULL) == TIDEGATE_E_CORRUPT, "one byte");
}

int main(int argc, char** argv) {
  static char line[LONGEST_LINE];
  static Vector vector;
  char word[32];
  int checked = 0;
  FILE* const file = argc == 2 ? fopen(argv[1], "r") : NULL;
  if (file == NULL) return 2;
  while (fgets(line, sizeof line, file) != NULL) {
    char* rest;
    line[strcspn(line, "\n")] = '\0';
    rest = strchr(line, ' ');
    snprintf(word, sizeof word, "%.*s", (int)strcspn(line, " "), line);
    if (strcmp(word, "end") == 0) {
      ++checked;
      if (vector.bytes != NULL) {
        check_record(&vector);
      } else {
        check_key(&vector);
      }
    } else if (rest != NULL) {
      take_line(&vector, word, rest + 1);
    }
  }
  fclose(file);
  clear(&vector);
  check_misuse();
  printf("%d vectors, %d failures\n", checked, failures);
  return failures == 0 && checked > 0 ? 0 : 1;
}
