// ReplicaShape: how the cores of a model are divided, and what a review of it has decided.
#pragma once

#include <cstdint>
#include <string>

namespace tidegate {

/// Copies of a model, and the cores that one batch of each uses.
struct ReplicaShape {
  std::uint32_t replicas = 1;
  std::uint32_t threads = 1;
  bool operator==(const ReplicaShape&) const = default;
};

enum class ShapeStep : std::uint8_t {
  stay,     ///< nothing has changed
  attempt,  ///< a neighbouring shape serves, to be measured
  keep,     ///< the one that was tried serves at least 3 % more and stays
  go_back,  ///< it does not, and the former serves again
};

/// What Engine::review_shape has found and done.
struct ShapeReview {
  ShapeStep step = ShapeStep::stay;
  ReplicaShape shape{};  ///< that serves now
  std::string why;       ///< with numbers
};

}  // namespace tidegate
