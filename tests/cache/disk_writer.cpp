// disk_writer FOLDER SEED: stores and forgets until it is killed, writing a byte to
// standard output now and then. What it stores carries the seed as its version.
#include <unistd.h>

#include <cstdlib>
#include <random>

#include "base/wall_time.hpp"
#include "cache/disk_fixtures.hpp"

using namespace tidegate;
using namespace tidegate::test;

int main(int count, char** arguments) {
  if (count != 3) return 2;
  const auto seed = std::strtoull(arguments[2], nullptr, 10);
  const DiskWorld world;
  const auto tier = disk::DiskTier::open(disk_options(arguments[1], 12 << 20), world.surroundings());
  if (!tier) return 3;
  std::mt19937_64 random(seed);
  for (std::uint64_t step = 0;; ++step) {
    const std::uint64_t number = random() % 4000;
    store(**tier, disk_entry(number, 64 + random() % 4000, static_cast<float>(seed)));
    if (step % 40 == 0) forget(**tier, random() % 4000);
    if (step % 200 == 0) {
      // Nothing else tells how far the writer is; what waits is bounded by this.
      (void)look_up(**tier, number);
      if (::write(1, ".", 1) != 1) return 4;
    }
    if (step % 300 == 0) world.clock->advance(std::chrono::seconds(30));
  }
}
