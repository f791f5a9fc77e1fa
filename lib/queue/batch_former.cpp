#include "queue/batch_former.hpp"

#include <array>

namespace tidegate {

TimePoint BatchFormer::linger_end(const FlightQueue& queue) const noexcept {
  const TimePoint arrival = queue.oldest()->arrival;
  const bool overflows = arrival > TimePoint::max() - options_.max_queue_delay;
  return overflows ? TimePoint::max() : arrival + options_.max_queue_delay;
}

FlightList BatchFormer::form(FlightQueue& queue) const noexcept {
  FlightList batch;
  std::uint32_t rows_left = options_.max_batch_size;
  std::uint64_t tokens_left = options_.max_batch_tokens;
  std::array<Flight*, kMaxMisfits> misfits;
  std::size_t misfit_count = 0;
  std::size_t overtaken_count = 0;  // misfits older than some member of the batch

  Flight* flight = queue.oldest();
  while (flight != nullptr && rows_left > 0 && tokens_left > 0) {
    Flight* const next = flight->next;
    if (flight->size.rows <= rows_left && flight->size.tokens <= tokens_left) {
      rows_left -= flight->size.rows;
      tokens_left -= flight->size.tokens;
      queue.unlink(*flight);
      batch.push_back(*flight);
      overtaken_count = misfit_count;
    } else {
      if (flight->overtaken >= kMaxOvertaken || misfit_count == kMaxMisfits) break;
      misfits[misfit_count++] = flight;
    }
    flight = next;
  }
  for (std::size_t i = 0; i < overtaken_count; ++i) ++misfits[i]->overtaken;
  return batch;
}

}  // namespace tidegate
