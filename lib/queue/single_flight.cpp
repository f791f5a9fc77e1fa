#include "queue/single_flight.hpp"

#include <cstring>

namespace tidegate {
namespace {

constexpr std::size_t kFirstBuckets = 64;

}  // namespace

SingleFlight::SingleFlight() : buckets_(kFirstBuckets, nullptr) {}

std::size_t SingleFlight::bucket_of(const Digest& key) const noexcept {
  // A digest is already evenly spread: any eight of its bytes are a hash.
  std::uint64_t hash;
  std::memcpy(&hash, key.data(), sizeof hash);
  return static_cast<std::size_t>(hash) & (buckets_.size() - 1);
}

Flight* SingleFlight::find(const Digest& key) const noexcept {
  Flight* flight = buckets_[bucket_of(key)];
  while (flight != nullptr && flight->key != key) flight = flight->next_in_bucket;
  return flight;
}

void SingleFlight::insert(Flight& flight) {
  if (Flight* older = find(flight.key)) erase(*older);
  make_room();
  Flight*& head = buckets_[bucket_of(flight.key)];
  flight.next_in_bucket = head;
  flight.indexed = true;
  head = &flight;
  ++size_;
}

void SingleFlight::erase(Flight& flight) noexcept {
  if (!flight.indexed) return;
  Flight** link = &buckets_[bucket_of(flight.key)];
  while (*link != &flight) link = &(*link)->next_in_bucket;
  *link = flight.next_in_bucket;
  flight.next_in_bucket = nullptr;
  flight.indexed = false;
  --size_;
}

void SingleFlight::grow() {
  std::vector<Flight*> old(buckets_.size() * 2, nullptr);
  old.swap(buckets_);
  for (Flight* flight : old) {
    while (flight != nullptr) {
      Flight* const next = flight->next_in_bucket;
      Flight*& head = buckets_[bucket_of(flight->key)];
      flight->next_in_bucket = head;
      head = flight;
      flight = next;
    }
  }
}

}  // namespace tidegate
