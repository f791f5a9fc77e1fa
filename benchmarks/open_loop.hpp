// Load on an engine: requests that arrive when they arrive, or as many as it takes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tidegate/engine.hpp"

namespace tidegate::load {

struct Slice {
  std::vector<double> latencies_ms;  ///< of answers, from the moment the request was due
  std::uint64_t refused = 0;
  std::uint64_t computed = 0;   ///< answers that the model was asked for, by this request or by an equal one in flight
  double texts_per_second = 0;  ///< answers over the time from the first arrival to the last answer
  double mean_batch = 0;        ///< items in the batch of an answer
};

/// Poisson arrivals at `rate` a second for `length`, drawn from `seed`, the texts in turn. A request is sent when
/// it is due whatever became of those before it, and its latency counts from then: a stall is felt by all who
/// came during it. Blocks until the last answer. Errors: a request's that is neither an answer nor a refusal.
[[nodiscard]] Result<Slice> open_loop(Engine& engine, const std::string& model, const std::vector<std::string>& texts,
                                      double rate, Duration length, std::uint64_t seed);

/// Texts per second with `window` requests always in flight. Errors: as a request's.
[[nodiscard]] Result<double> closed_loop(Engine& engine, const std::string& model,
                                         const std::vector<std::string>& texts, std::size_t window, Duration length);

/// One request for each number of `order`, which names a text, with `window` of them in flight; no more are sent
/// once `length` has passed. Latency counts from the sending. Errors: as a request's.
[[nodiscard]] Result<Slice> closed_loop(Engine& engine, const std::string& model, const std::vector<std::string>& texts,
                                        std::span<const std::uint32_t> order, std::size_t window, CacheMode cache,
                                        Duration length);

}  // namespace tidegate::load
