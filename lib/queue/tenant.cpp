#include "queue/tenant.hpp"

#include <algorithm>

#include "queue/room.hpp"

namespace tidegate {
namespace {

constexpr Duration kMinute = std::chrono::minutes(1);
constexpr Duration kDay = std::chrono::hours(24);

template <std::size_t N>
Result<void> check(const TokenBucket& bucket, double amount, TimePoint now, const char (&message)[N]) noexcept {
  const Duration wait = bucket.wait_for(amount, now);
  if (wait <= Duration::zero()) return {};
  return Error(ErrorCode::quota_exceeded, message)
      .with_numbers(static_cast<std::int64_t>(bucket.used_at(now) + amount), static_cast<std::int64_t>(bucket.limit()))
      .with_retry_after(wait);
}

TimePoint rates_full_at(const Tenant& tenant) noexcept {
  return std::max({tenant.requests_minute.full_at(), tenant.requests_day.full_at(), tenant.tokens_minute.full_at()});
}

}  // namespace

TenantTable::TenantTable(const AdmissionOptions& options)
    : limits_(options.tenant_limits), most_(std::max<std::size_t>(options.max_tenants, options.tenants.size())) {
  nobody_ = &add({}, 1, limits_);
  for (const TenantOptions& one : options.tenants) add(one.name, one.weight, one.limits).listed = true;
}

Tenant& TenantTable::add(std::string_view name, double weight, const TenantLimits& limits) {
  auto tenant = std::make_unique<Tenant>();
  tenant->name = name;
  tenant->weight = weight;
  tenant->requests_minute = TokenBucket(limits.requests_per_minute, kMinute);
  tenant->requests_day = TokenBucket(limits.requests_per_day, kDay);
  tenant->tokens_minute = TokenBucket(limits.tokens_per_minute, kMinute);
  for (TenantLine& line : tenant->lines) line.tenant = tenant.get();
  return *tenants_.emplace(std::string(name), std::move(tenant)).first->second;
}

Tenant* TenantTable::find_or_add(std::string_view name, TimePoint now) {
  if (name.empty()) return nobody_;
  if (const auto found = tenants_.find(name); found != tenants_.end()) return found->second.get();
  if (size() >= most_ && !make_place(now)) return nullptr;
  make_room(places_, tenants_.size());
  Tenant& tenant = add(name, 1, limits_);
  line_up(tenant);
  return &tenant;
}

/// Within the room made when the tenant was added.
void TenantTable::line_up(Tenant& tenant) noexcept {
  tenant.put_aside = false;
  places_.push_back({rates_full_at(tenant), &tenant});
  std::push_heap(places_.begin(), places_.end());
}

/// Forgets the tenant whose place has been free for longest. One that waits or runs stands aside until
/// its last flight has ended, and one that has used its rates since is lined up anew: so nobody is
/// looked at twice for one flight.
bool TenantTable::make_place(TimePoint now) noexcept {
  while (!places_.empty()) {
    Tenant& tenant = *places_.front().tenant;
    const bool has_work = tenant.queued > 0 || tenant.running > 0;
    const bool is_exact = rates_full_at(tenant) <= places_.front().free_at;
    if (!has_work && is_exact && places_.front().free_at > now) return false;
    std::pop_heap(places_.begin(), places_.end());
    places_.pop_back();
    if (has_work) {
      tenant.put_aside = true;
    } else if (is_exact) {
      tenants_.erase(tenants_.find(tenant.name));
      return true;
    } else {
      line_up(tenant);
    }
  }
  return false;
}

Result<void> TenantTable::check_rates(const Tenant& tenant, std::uint64_t tokens, TimePoint now) noexcept {
  if (auto rate = check(tenant.requests_day, 1, now, "the tenant has used up its requests_per_day"); !rate) return rate;
  if (auto rate = check(tenant.requests_minute, 1, now, "the tenant has used up its requests_per_minute"); !rate) {
    return rate;
  }
  return check(tenant.tokens_minute, static_cast<double>(tokens), now, "the tenant has used up its tokens_per_minute");
}

void TenantTable::charge(Tenant& tenant, std::uint64_t tokens, TimePoint now) noexcept {
  tenant.requests_day.take(1, now);
  tenant.requests_minute.take(1, now);
  tenant.tokens_minute.take(static_cast<double>(tokens), now);
}

void TenantTable::inherit_rates(const TenantTable& former, TimePoint now) {
  for (const auto& [name, theirs] : former.tenants_) {
    if (rates_full_at(*theirs) <= now) continue;
    Tenant* const own = find_or_add(name, now);
    if (own == nullptr) continue;
    own->requests_day.inherit(theirs->requests_day, now);
    own->requests_minute.inherit(theirs->requests_minute, now);
    own->tokens_minute.inherit(theirs->tokens_minute, now);
  }
}

}  // namespace tidegate
