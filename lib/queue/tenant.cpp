#include "queue/tenant.hpp"

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

bool has_used(const Tenant& tenant, TimePoint now) noexcept {
  return tenant.requests_minute.used_at(now) > 0 || tenant.requests_day.used_at(now) > 0 ||
         tenant.tokens_minute.used_at(now) > 0;
}

}  // namespace

TenantTable::TenantTable(const AdmissionOptions& options) : limits_(options.tenant_limits) {
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
  if (tenants_.size() >= kMostTenants) drop_idle(now);
  return tenants_.size() < kMostTenants ? &add(name, 1, limits_) : nullptr;
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

void TenantTable::drop_idle(TimePoint now) noexcept {
  std::erase_if(tenants_, [this, now](const auto& entry) {
    const Tenant& tenant = *entry.second;
    const bool busy = tenant.queued > 0 || tenant.running > 0 || has_used(tenant, now);
    return !busy && !tenant.listed && &tenant != nobody_;
  });
}

}  // namespace tidegate
