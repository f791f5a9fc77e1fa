// Slab and FlightQueue by themselves.
#include <doctest/doctest.h>

#include <set>

#include "queue/flight_queue.hpp"

using namespace tidegate;

TEST_CASE("slab: ids are never repeated and find only what lives") {
  struct Node : SlabNode {
    int value = 7;
  };
  Slab<Node> slab;
  CHECK(slab.find(0) == nullptr);
  std::set<std::uint64_t> seen;
  std::vector<Node*> live;
  for (int round = 0; round < 50; ++round) {
    for (int i = 0; i < 100; ++i) {
      Node& node = slab.acquire();
      REQUIRE(node.value == 7);  // nothing of its past life
      node.value = i;
      REQUIRE(seen.insert(Slab<Node>::id_of(node)).second);
      live.push_back(&node);
    }
    for (Node* node : live) REQUIRE(slab.find(Slab<Node>::id_of(*node)) == node);
    std::size_t visited = 0;
    slab.for_each([&](Node&) { ++visited; });
    CHECK(visited == slab.size());
    while (live.size() > 30) {
      const std::uint64_t id = Slab<Node>::id_of(*live.front());
      slab.release(*live.front());
      live.erase(live.begin());
      REQUIRE(slab.find(id) == nullptr);
    }
  }
  CHECK(slab.size() == 30);
}

TEST_CASE("flight queue: unlinks anywhere and keeps its totals") {
  Slab<Flight> flights;
  FlightQueue queue;
  Tenant tenant;
  for (TenantLine& line : tenant.lines) line.tenant = &tenant;
  Flight* made[4];
  for (int i = 0; i < 4; ++i) {
    made[i] = &flights.acquire();
    made[i]->size = {static_cast<std::uint32_t>(1 + i), static_cast<std::uint64_t>(10 * i), 100};
    made[i]->tenant = &tenant;
    made[i]->sequence = static_cast<std::uint64_t>(i);
    queue.push_back(*made[i]);
  }
  CHECK(queue.rows() == 10);
  CHECK(queue.tokens() == 60);
  CHECK(queue.bytes() == 400);
  queue.unlink(*made[2]);
  queue.unlink(*made[0]);
  CHECK(queue.oldest() == made[1]);
  CHECK(made[1]->next == made[3]);
  queue.unlink(*made[3]);
  CHECK(made[1]->next == nullptr);
  queue.push_back(*made[0]);
  CHECK(made[1]->next == made[0]);
  queue.unlink(*made[1]);
  queue.unlink(*made[0]);
  CHECK(queue.empty());
  CHECK(queue.items() == 0);
  CHECK(queue.rows() + queue.tokens() + queue.bytes() == 0);
}
