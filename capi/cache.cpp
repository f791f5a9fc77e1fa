// Keys and records of stored answers.
#include "tidegate/cache.h"

#include <algorithm>
#include <span>
#include <tuple>

#include "answer.hpp"
#include "arguments.hpp"
#include "tensor_view.hpp"
#include "tidegate/stored_answer.hpp"

using namespace tidegate::capi;  // NOLINT: the C functions below are the API of this namespace
using tidegate::AnswerSource;
using tidegate::CacheKey;
using tidegate::Digest;
using tidegate::Error;
using tidegate::ErrorCode;
using tidegate::Input;
using tidegate::Result;
using tidegate::StoredAnswer;
using tidegate::Tensor;

namespace {

static_assert(std::tuple_size_v<Digest> == TIDEGATE_DIGEST_BYTES);

Result<Digest> digest_argument(const uint8_t* given, const char* noun) {
  if (given == nullptr) return Error(ErrorCode::invalid_argument, std::string(noun) + " is NULL");
  Digest digest;
  std::copy_n(given, digest.size(), digest.begin());
  return digest;
}

Result<void> give_key(const uint8_t* fingerprint, const Input& input, uint8_t* key) {
  if (key == nullptr) return Error(ErrorCode::invalid_argument, "key is NULL");
  const auto model = digest_argument(fingerprint, "fingerprint");
  if (!model) return model.error();
  const CacheKey made = tidegate::request_key(*model, input);
  std::copy(made.begin(), made.end(), key);
  return {};
}

}  // namespace

tidegate_status tidegate_key_of_text(const uint8_t* fingerprint, const char* text, size_t length, uint8_t* key,
                                     tidegate_error** err) noexcept {
  return guarded(err, [&]() -> Result<void> {
    const auto view = text_argument(text, length, "text");
    if (!view) return view.error();
    return give_key(fingerprint, std::string(*view), key);
  });
}

tidegate_status tidegate_key_of_tensors(const uint8_t* fingerprint, const tidegate_tensor_view* tensors, uint32_t count,
                                        uint8_t* key, tidegate_error** err) noexcept {
  return guarded(err, [&]() -> Result<void> {
    auto copies = copy_tensors(tensors, count, "tensors");
    if (!copies) return copies.error();
    return give_key(fingerprint, *std::move(copies), key);
  });
}

tidegate_status tidegate_record_write(const uint8_t* key, const tidegate_tensor_view* tensors, uint32_t count,
                                      const tidegate_record_facts* facts, char** record, size_t* length,
                                      tidegate_error** err) noexcept {
  return guarded(err, [&]() -> Result<void> {
    if (length != nullptr) *length = 0;
    if (auto ok = check_output(record, "record"); !ok) return ok;
    if (length == nullptr) return Error(ErrorCode::invalid_argument, "length is NULL");
    const auto digest = digest_argument(key, "key");
    if (!digest) return digest.error();
    const auto known = read_struct(facts, "facts");
    if (!known) return known.error();
    if (known->reserved != 0) return Error(ErrorCode::unsupported, "facts: reserved is not 0");
    if (known->recompute_ns < 0) return Error(ErrorCode::invalid_argument, "facts: recompute_ns is negative");
    auto copies = copy_tensors(tensors, count, "tensors");
    if (!copies) return copies.error();
    const auto written = tidegate::write_answer(
        *digest, {*std::move(copies), known->expires_unix_ms, tidegate::Duration(known->recompute_ns)});
    if (!written) return written.error();
    const auto bytes = written->bytes();
    give_text({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, record, length);
    return {};
  });
}

tidegate_status tidegate_record_read(const uint8_t* key, const char* record, size_t length,
                                     tidegate_record_facts* facts, tidegate_result** result,
                                     tidegate_error** err) noexcept {
  return guarded(err, [&]() -> Result<void> {
    if (auto ok = check_output(result, "result"); !ok) return ok;
    const auto digest = digest_argument(key, "key");
    if (!digest) return digest.error();
    if (length == TIDEGATE_NUL) return Error(ErrorCode::invalid_argument, "a record needs its length");
    const auto view = text_argument(record, length, "record");
    if (!view) return view.error();
    auto answer = tidegate::read_answer(*digest, std::as_bytes(std::span(*view)));
    if (!answer) return answer.error();
    auto item = std::make_unique<tidegate_result>();
    item->response.outputs = std::move(answer->outputs);
    item->response.source = AnswerSource::cache;
    if (facts != nullptr) {
      tidegate_record_facts told{};
      told.expires_unix_ms = answer->expires_unix_ms;
      told.recompute_ns = answer->recompute_cost.count();
      if (auto ok = write_struct(facts, told, "facts"); !ok) return ok;
    }
    *result = item.release();
    return {};
  });
}
