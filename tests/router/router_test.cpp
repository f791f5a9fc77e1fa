#include "router/router.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <random>
#include <thread>

using namespace tidegate;

namespace {

/// The contract written as plainly as possible: every lease is remembered, every
/// figure counted afresh.
struct NaiveRouter {
  struct Replica {
    std::uint32_t id;
    ReplicaOptions options;
    bool draining = false;
  };
  std::vector<Replica> replicas;
  std::uint32_t next_id = 0;
  std::vector<std::uint32_t> granted;      // replica of every lease ever, in order
  std::multimap<std::uint32_t, int> held;  // replica -> one entry per live lease

  std::uint32_t leased(std::uint32_t id) const { return static_cast<std::uint32_t>(held.count(id)); }
  long last_lease(std::uint32_t id) const {
    for (long i = static_cast<long>(granted.size()) - 1; i >= 0; --i) {
      if (granted[static_cast<std::size_t>(i)] == id) return i;
    }
    return -1;
  }
  std::optional<std::uint32_t> acquire() {
    const Replica* best = nullptr;
    for (const Replica& replica : replicas) {
      if (replica.draining || leased(replica.id) >= replica.options.concurrency) continue;
      if (best == nullptr) {
        best = &replica;
        continue;
      }
      const double mine = (leased(replica.id) + 1.0) / replica.options.weight;
      const double theirs = (leased(best->id) + 1.0) / best->options.weight;
      if (mine < theirs || (mine == theirs && last_lease(replica.id) < last_lease(best->id))) best = &replica;
    }
    if (best == nullptr) return std::nullopt;
    granted.push_back(best->id);
    held.emplace(best->id, 0);
    return best->id;
  }
  bool remove(std::uint32_t id) {
    for (Replica& replica : replicas) {
      if (replica.id != id || replica.draining) continue;
      replica.draining = true;
      forget_idle();
      return true;
    }
    return false;
  }
  void release(std::uint32_t id) {
    held.erase(held.find(id));
    forget_idle();
  }
  void forget_idle() {
    std::erase_if(replicas, [&](const Replica& replica) { return replica.draining && leased(replica.id) == 0; });
  }
};

std::uint64_t total_of(const std::vector<ReplicaLoad>& loads, ReplicaId id) {
  for (const ReplicaLoad& load : loads) {
    if (load.id == id) return load.leases_total;
  }
  return 0;
}

}  // namespace

TEST_CASE("router: an empty one has no room") {
  Router router;
  CHECK_FALSE(router.acquire().has_value());
  CHECK(router.total_concurrency() == 0);
  CHECK(router.loads().empty());
  CHECK_FALSE(router.remove(ReplicaId{0}));
}

TEST_CASE("router: equal replicas take turns, the one leased least recently first") {
  Router router;
  const ReplicaId a = router.add({});
  const ReplicaId b = router.add({});
  const ReplicaId c = router.add({});
  for (int round = 0; round < 3; ++round) {
    for (const ReplicaId expected : {a, b, c}) {
      const auto lease = router.acquire();
      REQUIRE(lease.has_value());
      CHECK(lease->replica() == expected);
    }
  }
}

TEST_CASE("router: a replica without room is passed over and a freed one is found") {
  Router router;
  router.add({.concurrency = 1});
  auto first = router.acquire();
  REQUIRE(first.has_value());
  CHECK_FALSE(router.acquire().has_value());
  first.reset();
  CHECK(router.acquire().has_value());
}

TEST_CASE("router: weight decides how many leases a replica holds before its peer gets one") {
  Router router;
  const ReplicaId light = router.add({.concurrency = 8, .weight = 1.0});
  const ReplicaId heavy = router.add({.concurrency = 8, .weight = 3.0});
  std::vector<ReplicaLease> held;
  for (int i = 0; i < 8; ++i) held.push_back(*router.acquire());
  const auto loads = router.loads();
  CHECK(total_of(loads, light) == 2);
  CHECK(total_of(loads, heavy) == 6);
}

TEST_CASE("router: a removed replica drains, is forgotten at its last lease, and its id is not used again") {
  Router router;
  const ReplicaId a = router.add({.concurrency = 2});
  auto lease = router.acquire();
  REQUIRE(lease.has_value());
  CHECK(router.remove(a));
  CHECK_FALSE(router.remove(a));
  CHECK_FALSE(router.acquire().has_value());
  CHECK(router.total_concurrency() == 0);
  REQUIRE(router.loads().size() == 1);
  CHECK(router.loads()[0].draining);
  lease.reset();
  CHECK(router.loads().empty());
  CHECK(router.add({}) != a);
}

TEST_CASE("router: a lease outlives its router, and moving one ends the lease it replaces") {
  auto router = std::make_unique<Router>();
  router->add({.concurrency = 1});
  router->add({.concurrency = 1});
  auto a = router->acquire();
  auto b = router->acquire();
  REQUIRE((a && b));
  const ReplicaId kept = b->replica();
  *a = std::move(*b);
  b.reset();
  CHECK(a->replica() == kept);
  std::uint32_t leased = 0;
  for (const ReplicaLoad& load : router->loads()) leased += load.leased;
  CHECK(leased == 1);
  router.reset();
  CHECK(a->replica() == kept);
  a.reset();
}

TEST_CASE("router: agrees with the plain reference over random schedules") {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    std::mt19937_64 random(seed);
    Router router;
    NaiveRouter naive;
    std::vector<std::pair<std::uint32_t, ReplicaLease>> held;
    for (int step = 0; step < 300; ++step) {
      const auto action = random() % 10;
      if (action == 0 || naive.replicas.empty()) {
        static constexpr double kWeights[] = {0.25, 0.5, 1.0, 1.0, 2.0, 3.0};
        const ReplicaOptions options{.concurrency = static_cast<std::uint32_t>(1 + random() % 4),
                                     .weight = kWeights[random() % 6]};
        REQUIRE(static_cast<std::uint32_t>(router.add(options)) == naive.next_id);
        naive.replicas.push_back({naive.next_id++, options});
      } else if (action == 1) {
        const auto id = static_cast<std::uint32_t>(random() % naive.next_id);
        REQUIRE(router.remove(ReplicaId{id}) == naive.remove(id));
      } else if (action < 6 || held.empty()) {
        const auto expected = naive.acquire();
        auto lease = router.acquire();
        REQUIRE(lease.has_value() == expected.has_value());
        if (!lease) continue;
        REQUIRE(static_cast<std::uint32_t>(lease->replica()) == *expected);
        held.emplace_back(*expected, std::move(*lease));
      } else {
        const auto index = static_cast<long>(random() % held.size());
        naive.release(held[static_cast<std::size_t>(index)].first);
        held.erase(held.begin() + index);
      }
      const auto loads = router.loads();
      REQUIRE(loads.size() == naive.replicas.size());
      for (std::size_t i = 0; i < loads.size(); ++i) {
        REQUIRE(static_cast<std::uint32_t>(loads[i].id) == naive.replicas[i].id);
        REQUIRE(loads[i].leased == naive.leased(naive.replicas[i].id));
        REQUIRE(loads[i].draining == naive.replicas[i].draining);
      }
    }
  }
}

TEST_CASE("router: under full load each replica's share of leases follows its weight within 2 percent") {
  // Work ends in random order (seed 5, 40,000 leases), 40 of it in progress.
  Router router;
  const double weights[] = {1.0, 2.0, 5.0};
  for (const double weight : weights) router.add({.concurrency = 1024, .weight = weight});
  std::mt19937_64 random(5);
  std::vector<ReplicaLease> running;
  for (int i = 0; i < 40000; ++i) {
    running.push_back(*router.acquire());
    if (running.size() < 40) continue;
    std::swap(running[random() % running.size()], running.back());
    running.pop_back();
  }
  const auto loads = router.loads();
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(static_cast<double>(loads[i].leases_total) / 40000.0 == doctest::Approx(weights[i] / 8.0).epsilon(0.02));
  }
}

TEST_CASE("router: a replica ten times slower gets about a tenth of the leases") {
  // Discrete time: work takes 1 tick on three replicas and 10 on the fourth; each
  // tick offers 12 pieces to 4 x 4 places, so the slow one is never idle.
  Router router;
  for (int i = 0; i < 4; ++i) router.add({.concurrency = 4});
  std::multimap<int, ReplicaLease> running;
  for (int tick = 0; tick < 5000; ++tick) {
    running.erase(running.begin(), running.upper_bound(tick));
    for (int offered = 0; offered < 12; ++offered) {
      auto lease = router.acquire();
      if (!lease) break;
      const int takes = lease->replica() == ReplicaId{3} ? 10 : 1;
      running.emplace(tick + takes, std::move(*lease));
    }
  }
  const auto loads = router.loads();
  const auto slow = static_cast<double>(loads[3].leases_total);
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(static_cast<double>(loads[i].leases_total) > 8.0 * slow);
    CHECK(static_cast<double>(loads[i].leases_total) < 12.0 * slow);
  }
}

TEST_CASE("router: never exceeds a replica's concurrency while threads lease, add and remove") {
  constexpr std::uint32_t kConcurrency = 3;
  Router router;
  std::array<std::atomic<std::uint32_t>, 600> in_use{};
  std::atomic<bool> exceeded{false};
  std::atomic<std::uint64_t> granted{0};
  for (int i = 0; i < 4; ++i) router.add({.concurrency = kConcurrency});
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 5000; ++i) {
        auto lease = router.acquire();
        if (!lease) continue;
        ++granted;
        const auto id = static_cast<std::uint32_t>(lease->replica());
        if (in_use[id].fetch_add(1) >= kConcurrency) exceeded = true;
        in_use[id].fetch_sub(1);
        const ReplicaLease moved = std::move(*lease);
      }
    });
  }
  threads.emplace_back([&] {
    for (std::uint32_t i = 0; i < 500; ++i) {
      router.add({.concurrency = kConcurrency});
      router.remove(ReplicaId{i});
      (void)router.loads();
    }
  });
  for (std::thread& thread : threads) thread.join();
  CHECK_FALSE(exceeded.load());
  CHECK(granted.load() > 0);
  CHECK(router.loads().size() == 4);
  CHECK(router.total_concurrency() == 4 * kConcurrency);
  for (const ReplicaLoad& load : router.loads()) CHECK(load.leased == 0);
}

TEST_CASE("router: with predictions the replica goes first whose batches are foreseen to be done soonest") {
  using namespace std::chrono_literals;
  const TimePoint start{1h};
  Router router;
  const ReplicaId first = router.add({.concurrency = 4});
  const ReplicaId second = router.add({.concurrency = 4});
  const auto lease = [&](Duration since, Duration predicted) { return *router.acquire({start + since, predicted}); };
  const ReplicaLease slow = lease(0ms, 100ms);
  CHECK(slow.replica() == first);
  const ReplicaLease quick = lease(1ms, 10ms);
  CHECK(quick.replica() == second);
  // Two short batches are less to do than one long one.
  const ReplicaLease next = lease(1ms, 10ms);
  CHECK(next.replica() == second);
  // What is overdue is no work any more, however many leases there are.
  CHECK(lease(99ms, 10ms).replica() == second);
  {
    std::optional<ReplicaLease> moved = lease(99ms, 500ms);
    CHECK(moved->replica() == second);
    const ReplicaLease elsewhere = *std::move(moved);
    CHECK(lease(99ms, 10ms).replica() == first);
  }
  CHECK(lease(99ms, 10ms).replica() == second);
}

TEST_CASE("router: a heavier replica takes a batch though it has more to do") {
  using namespace std::chrono_literals;
  Router router;
  const ReplicaId light = router.add({.concurrency = 8});
  const ReplicaId heavy = router.add({.concurrency = 8, .weight = 3});
  const TimePoint now{1h};
  std::vector<ReplicaLease> leases;
  for (int i = 0; i < 8; ++i) leases.push_back(*router.acquire({now, 10ms}));
  const auto count = [&](ReplicaId id) {
    return std::count_if(leases.begin(), leases.end(), [&](const ReplicaLease& one) { return one.replica() == id; });
  };
  CHECK(count(light) == 2);
  CHECK(count(heavy) == 6);
}
