// Options of the router: which replica runs the next batch.
#pragma once

#include <cstdint>
#include <string>

namespace tidegate {

/// Least request: the free replica with the smallest
/// (leased + 1) / weight; ties go to the one leased least recently.
struct ReplicaOptions {
  std::uint32_t concurrency = 1;  ///< batches the replica runs at a time, 1..1024
  double weight = 1.0;            ///< share relative to its peers, > 0
  std::string variant{};          ///< as Response::variant; empty = ModelInfo::variant
};

}  // namespace tidegate
