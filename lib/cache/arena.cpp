#include "cache/arena.hpp"

#include <bit>
#include <cassert>

#include "base/poison.hpp"

namespace tidegate {

Arena::Arena(std::byte* base, std::uint64_t begin, std::uint64_t end) noexcept : base_(base), begin_(begin), end_(end) {
  assert(begin % kStep == 0 && end % kStep == 0 && end >= begin + 64 && end <= kMostBytes);
  const auto units = static_cast<std::uint32_t>(total_bytes() / kStep);
  const Place mark = first() + units;
  header(mark) = {0, 0};
  header(first()).size = 0;
  put_in_list(first(), units);
}

Arena::Place Arena::first() const noexcept { return static_cast<Place>((begin_ + kOwnBytes) / kStep); }

Arena::Place Arena::next(Place place) const noexcept {
  const Place behind = place + units(place);
  return units(behind) == 0 ? 0 : behind;
}

std::uint32_t& Arena::tail(Place place) const noexcept {
  return *reinterpret_cast<std::uint32_t*>(base_ + place * kStep + units(place) * kStep - kHeaderBytes -
                                           sizeof(std::uint32_t));
}

Arena::Class Arena::class_of(std::uint32_t units) noexcept {
  if (units < kSeconds) return {0, units};
  const unsigned log = static_cast<unsigned>(std::bit_width(units)) - 1;
  return {log - kSecondBits + 1, (units >> (log - kSecondBits)) & (kSeconds - 1)};
}

/// Makes [place, place + units) free; its header's flag about what is before it stays.
void Arena::put_in_list(Place place, std::uint32_t units) noexcept {
  header(place).size = (header(place).size & kAfterFree) | kFree | units;
  tail(place) = units;
  header(place + units).size |= kAfterFree;
  const Class of = class_of(units);
  Place& head = heads_[of.first][of.second];
  links(place) = {head, 0};
  if (head != 0) links(head).previous = place;
  head = place;
  first_bits_ |= 1U << of.first;
  second_bits_[of.first] = static_cast<std::uint8_t>(second_bits_[of.first] | 1U << of.second);
  free_units_ += units;
  // Whoever still reads a value that lay here is found. Links and tail are the arena's own.
  poison(at(place) + sizeof(Links), units * kStep - kHeaderBytes - sizeof(Links) - sizeof(std::uint32_t));
}

void Arena::take_out(Place place) noexcept {
  const Links at = links(place);
  const Class of = class_of(units(place));
  if (at.next != 0) links(at.next).previous = at.previous;
  if (at.previous != 0) {
    links(at.previous).next = at.next;
  } else {
    heads_[of.first][of.second] = at.next;
    if (at.next == 0) {
      second_bits_[of.first] = static_cast<std::uint8_t>(second_bits_[of.first] & ~(1U << of.second));
      if (second_bits_[of.first] == 0) first_bits_ &= ~(1U << of.first);
    }
  }
  free_units_ -= units(place);
}

void Arena::mark_used(Place place, std::uint32_t units, std::uint32_t owner) noexcept {
  unpoison(at(place), units * kStep - kHeaderBytes);
  header(place) = {(header(place).size & kAfterFree) | units, owner};
  header(place + units).size &= ~kAfterFree;
}

Arena::Place Arena::find(std::uint32_t units) const noexcept {
  // Where all blocks are of one size, those that fit exactly are in the size's own class.
  const Class own = class_of(units);
  Place place = heads_[own.first][own.second];
  for (int look = 0; look < kLooks && place != 0; ++look, place = links(place).next) {
    if (this->units(place) >= units) return place;
  }
  const unsigned larger = second_bits_[own.first] & ~((2U << own.second) - 1);
  if (larger != 0) return heads_[own.first][static_cast<unsigned>(std::countr_zero(larger))];
  const std::uint32_t firsts = first_bits_ & ~((2U << own.first) - 1);
  if (firsts == 0) return 0;
  const auto first = static_cast<unsigned>(std::countr_zero(firsts));
  return heads_[first][static_cast<unsigned>(std::countr_zero(unsigned{second_bits_[first]}))];
}

Arena::Place Arena::allocate(std::uint64_t bytes, std::uint32_t owner) noexcept {
  if (bytes > total_bytes()) return 0;
  const auto wanted = static_cast<std::uint32_t>(block_bytes(bytes) / kStep);
  const Place place = find(wanted);
  if (place == 0) return 0;
  claim(place, owner);
  trim(place, bytes);
  return place;
}

void Arena::claim(Place place, std::uint32_t owner) noexcept {
  assert(is_free(place));
  take_out(place);
  mark_used(place, units(place), owner);
}

bool Arena::absorb_next(Place place) noexcept {
  assert(!is_free(place));
  const Place behind = next(place);
  if (behind == 0 || !is_free(behind)) return false;
  take_out(behind);
  mark_used(place, units(place) + units(behind), header(place).owner);
  return true;
}

Arena::Place Arena::split(Place place, std::uint64_t bytes) noexcept {
  const auto first = static_cast<std::uint32_t>(bytes / kStep);
  const std::uint32_t second = units(place) - first;
  assert(!is_free(place) && bytes >= kSmallestBlock && second * kStep >= kSmallestBlock);
  const std::uint32_t owner = header(place).owner;
  mark_used(place, first, owner);
  header(place + first) = {second, owner};
  return place + first;
}

void Arena::trim(Place place, std::uint64_t bytes) noexcept {
  const std::uint64_t wanted = block_bytes(bytes);
  if (size_of(place) >= wanted + kSmallestBlock) free(split(place, wanted));
}

Arena::Place Arena::free(Place place) noexcept {
  assert(place != 0 && !is_free(place));
  Place start = place;
  std::uint32_t length = units(place);
  const Place behind = place + length;
  if (is_free(behind)) {
    take_out(behind);
    length += units(behind);
  }
  if ((header(place).size & kAfterFree) != 0) {
    const std::uint32_t before =
        *reinterpret_cast<const std::uint32_t*>(at(place) - kHeaderBytes - sizeof(std::uint32_t));
    start -= before;
    take_out(start);
    length += before;
  }
  put_in_list(start, length);
  return start;
}

void Arena::cut_front(std::uint64_t bytes) noexcept {
  const Place front = first();
  const std::uint64_t rest = size_of(front) - bytes;
  assert(!is_free(front) && bytes % kStep == 0 && (rest == 0 || rest >= kSmallestBlock));
  begin_ += bytes;
  if (rest == 0) return;
  header(first()) = {static_cast<std::uint32_t>(rest / kStep), 0};
  free(first());
}

void Arena::grow_front(std::uint64_t bytes) noexcept {
  begin_ -= bytes;
  header(first()) = {static_cast<std::uint32_t>(bytes / kStep), 0};
  free(first());
}

}  // namespace tidegate
