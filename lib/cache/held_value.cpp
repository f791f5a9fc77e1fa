#include "cache/held_value.hpp"

#include "cache/memory_shard.hpp"
#include "cache/value_facts.hpp"
#include "request/record_codec.hpp"

namespace tidegate {

void HeldValue::let_go() noexcept { shard_->let_go(*node_); }

Duration HeldValue::recompute_cost() const noexcept { return ValueFacts(facts_).cost(); }

CacheRecord HeldValue::record(std::int64_t expires_unix_ms) const {
  if (!ValueFacts(facts_).is_plain()) return join_record(key(), {expires_unix_ms, recompute_cost()}, bytes_);
  return CacheRecord(std::make_shared<const std::vector<std::byte>>(bytes_.begin(), bytes_.end()));
}

Result<std::vector<Tensor>> HeldValue::outputs() && {
  if (ValueFacts(facts_).is_plain()) return Error(ErrorCode::corrupt_data, "cache: the value is no record");
  const std::span<const std::byte> bytes = bytes_;
  return decode_body(bytes, std::make_shared<const HeldValue>(std::move(*this)));
}

}  // namespace tidegate
