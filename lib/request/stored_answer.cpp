#include "tidegate/stored_answer.hpp"

#include "base/try.hpp"
#include "request/record_codec.hpp"
#include "request/request_key.hpp"

namespace tidegate {

CacheKey request_key(const Digest& model_fingerprint, const Input& input) noexcept {
  return make_request_key(model_fingerprint, input);
}

Result<CacheRecord> write_answer(const CacheKey& key, const StoredAnswer& answer) {
  CacheRecord record = encode_record(key, answer.outputs, answer.expires_unix_ms, answer.recompute_cost);
  if (record.block() == nullptr) return Error(ErrorCode::too_large, "a record holds less than 4 GiB of tensors");
  return record;
}

Result<StoredAnswer> read_answer(const CacheKey& key, std::span<const std::byte> record) {
  const CacheRecord copy(std::make_shared<const std::vector<std::byte>>(record.begin(), record.end()));
  StoredAnswer answer;
  TIDEGATE_TRY(answer.outputs, decode_record(key, copy, ChecksumPolicy::verify));
  TIDEGATE_TRY(const RecordFacts facts, record_facts(key, record));
  answer.expires_unix_ms = facts.expires_unix_ms;
  answer.recompute_cost = facts.recompute_cost;
  return answer;
}

}  // namespace tidegate
