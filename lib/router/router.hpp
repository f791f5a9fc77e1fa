// Router: which replica runs the next batch. Knows ids, weights and leases; never runners.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "tidegate/router.hpp"
#include "tidegate/time.hpp"

namespace tidegate {

enum class ReplicaId : std::uint32_t {};

/// One unit of a replica's concurrency, given back on destruction. Move-only; may
/// outlive the Router.
class ReplicaLease {
 public:
  ReplicaLease(ReplicaLease&&) noexcept;
  ReplicaLease& operator=(ReplicaLease&&) noexcept;
  ~ReplicaLease();
  [[nodiscard]] ReplicaId replica() const noexcept;

 private:
  friend class Router;
  struct Table;
  ReplicaLease(std::shared_ptr<Table> table, std::uint32_t index, double expected_end) noexcept;
  std::shared_ptr<Table> table_;
  std::uint32_t index_ = 0;
  double expected_end_ = 0;  // nanoseconds since the clock's start
};

/// A batch that looks for a replica. Without a prediction only the number of batches counts.
struct ReplicaWork {
  TimePoint now{};
  Duration predicted{0};  ///< zero = not known
};

struct ReplicaLoad {
  ReplicaId id{};
  std::uint32_t leased = 0;
  std::uint32_t concurrency = 0;
  std::uint64_t leases_total = 0;
  bool draining = false;
};

/// Over the replicas that have room: the one whose batches, this one included, are foreseen to
/// be done soonest, by its weight; without predictions the least request. Thread-safe (one
/// leaf mutex).
class Router {
 public:
  Router();
  ~Router();

  /// Ids count up from 0 and are never reused.
  ReplicaId add(const ReplicaOptions& options);
  /// Gets no new lease; forgotten when its last lease ends. False if unknown.
  bool remove(ReplicaId id);

  /// nullopt if no replica has room.
  [[nodiscard]] std::optional<ReplicaLease> acquire(const ReplicaWork& work = {});
  /// The same of one replica; nullopt also if it is unknown or draining.
  [[nodiscard]] std::optional<ReplicaLease> acquire(ReplicaId id, const ReplicaWork& work);

  /// Room over all replicas that take leases.
  [[nodiscard]] std::uint32_t total_concurrency() const;
  [[nodiscard]] std::vector<ReplicaLoad> loads() const;

 private:
  std::shared_ptr<ReplicaLease::Table> table_;
};

}  // namespace tidegate
