// disk_writer FOLDER SEED: stores and forgets until it is killed, writing a byte to
// standard output now and then. What it stores carries the seed as its version.
// disk_writer FOLDER disk|snapshot: invalidates what an engine on that disk tier or snapshot has of model m,
// writes a byte when that is done, and waits to be killed.
#include <unistd.h>

#include <cstdlib>
#include <random>
#include <string_view>

#include "base/wall_time.hpp"
#include "cache/kept_engine.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

int invalidate(const std::string& folder, std::string_view where) {
  Engine engine = kept_engine(folder, where, -1);
  if (!engine.invalidate_cache({}, std::chrono::seconds(20))) return 5;
  if (::write(1, ".", 1) != 1) return 4;
  for (;;) ::pause();
}

int store_and_forget(const std::string& folder, const char* number) {
  const auto seed = std::strtoull(number, nullptr, 10);
  const DiskWorld world;
  const auto tier = disk::DiskTier::open(disk_options(folder, 12 << 20), world.surroundings());
  if (!tier) return 3;
  std::mt19937_64 random(seed);
  for (std::uint64_t step = 0;; ++step) {
    const std::uint64_t number_of_key = random() % 4000;
    store(**tier, disk_entry(number_of_key, 64 + random() % 4000, static_cast<float>(seed)));
    if (step % 40 == 0) forget(**tier, random() % 4000);
    if (step % 200 == 0) {
      // Nothing else tells how far the writer is; what waits is bounded by this.
      (void)look_up(**tier, number_of_key);
      if (::write(1, ".", 1) != 1) return 4;
    }
    if (step % 300 == 0) world.clock->advance(std::chrono::seconds(30));
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) return 2;
  const std::string_view what = arguments[2];
  return what == "disk" || what == "snapshot" ? invalidate(arguments[1], what)
                                              : store_and_forget(arguments[1], arguments[2]);
}
