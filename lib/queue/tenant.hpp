// Tenant: whose requests wait, and how much each has been served.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "queue/flight.hpp"
#include "queue/token_bucket.hpp"
#include "tidegate/queue.hpp"
#include "tidegate/result.hpp"

namespace tidegate {

inline constexpr std::size_t kPriorities = 3;
[[nodiscard]] constexpr std::size_t index_of(Priority priority) noexcept { return static_cast<std::size_t>(priority); }

/// What waits of one tenant in one class.
struct TenantLine {
  FlightTree flights;
  Tenant* tenant = nullptr;
  /// Tokens served so far, in the time of the class: a line that comes back is lifted to
  /// the line served last, so nobody saves up.
  double served = 0;
  TreeHook<TenantLine> hook{};  ///< among the lines of its class that have flights

  // Of the batch that is being formed.
  std::uint64_t formation = 0;      ///< the one the fields below belong to
  Flight* cursor = nullptr;         ///< the next to look at
  std::uint64_t last_sequence = 0;  ///< the furthest that was taken
  TimePoint last_order{};
  bool newest_first = false;  ///< it is gone through from its end
  bool from_end = false;      ///< the cursor has passed those that stay in front all the same
  bool set_aside = false;     ///< nothing more to take; not among its class's lines
  TenantLine* next_touched = nullptr;
};

struct Tenant {
  std::string name;
  double weight = 1;
  std::array<TenantLine, kPriorities> lines{};
  std::uint32_t queued = 0;   ///< flights
  std::uint32_t running = 0;  ///< flights
  bool listed = false;        ///< in AdmissionOptions::tenants: never forgotten
  bool put_aside = false;     ///< TenantTable: waits or runs, and stands in no order of places
  TokenBucket requests_minute, requests_day, tokens_minute;
};

struct LineOrder {
  static TreeHook<TenantLine>& hook(TenantLine& line) noexcept { return line.hook; }
  static bool before(const TenantLine& a, const TenantLine& b) noexcept {
    if (a.served != b.served) return a.served < b.served;
    // Equal service: by name, so that a schedule does not depend on addresses.
    return a.tenant->name < b.tenant->name;
  }
};
using LineTree = OrderTree<TenantLine, LineOrder>;

/// The tenants seen lately: those listed in the options, and others up to max_tenants of both. One that
/// is not listed keeps its place while it waits, runs or has not got back what it used of its rates.
class TenantTable {
 public:
  explicit TenantTable(const AdmissionOptions& options);

  /// nullptr if nobody's place is free. May throw std::bad_alloc; then at most an idle tenant has been
  /// forgotten. O(log n) for each flight that has come since the last call.
  [[nodiscard]] Tenant* find_or_add(std::string_view name, TimePoint now);

  /// After find_or_add has found none: when the rates of one who does not wait or run will be full
  /// again; kNoDeadline = they all wait or run.
  [[nodiscard]] TimePoint next_free() const noexcept { return places_.empty() ? kNoDeadline : places_.front().free_at; }

  /// A flight of the tenant's has ended.
  void flight_ended(Tenant& tenant) noexcept {
    if (tenant.put_aside && tenant.queued == 0 && tenant.running == 0) line_up(tenant);
  }

  /// Error: quota_exceeded (which rate, its numbers, retry_after). Allocates nothing.
  [[nodiscard]] static Result<void> check_rates(const Tenant& tenant, std::uint64_t tokens, TimePoint now) noexcept;
  static void charge(Tenant& tenant, std::uint64_t tokens, TimePoint now) noexcept;

  /// What was used of the rates of `former` has been used of these. A tenant who finds no place here
  /// starts anew. May throw std::bad_alloc; then some have inherited.
  void inherit_rates(const TenantTable& former, TimePoint now);

  /// Without the nameless one, as `most`.
  [[nodiscard]] std::size_t size() const noexcept { return tenants_.size() - 1; }
  [[nodiscard]] std::size_t most() const noexcept { return most_; }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view name) const noexcept { return std::hash<std::string_view>{}(name); }
  };
  /// Of a tenant that is neither listed nor put aside.
  struct Place {
    TimePoint free_at{};  ///< not before
    Tenant* tenant = nullptr;
    /// For a heap with the earliest in front.
    [[nodiscard]] bool operator<(const Place& other) const noexcept { return free_at > other.free_at; }
  };
  Tenant& add(std::string_view name, double weight, const TenantLimits& limits);
  void line_up(Tenant& tenant) noexcept;
  [[nodiscard]] bool make_place(TimePoint now) noexcept;

  TenantLimits limits_;  ///< of those that are not listed
  std::size_t most_;
  std::unordered_map<std::string, std::unique_ptr<Tenant>, Hash, std::equal_to<>> tenants_;
  std::vector<Place> places_;  ///< a heap, with room for all
  Tenant* nobody_ = nullptr;   ///< the tenant of the empty name
};

}  // namespace tidegate
