// copy_input: a copy of an input that is safe where memory runs out.
#pragma once

#include "tidegate/request.hpp"

namespace tidegate {

/// The copy constructor of the variant itself is not: where the copy of an alternative throws,
/// libstdc++ 12 destroys an alternative that was never made.
[[nodiscard]] inline Input copy_input(const Input& input) {
  if (const auto* const text = std::get_if<std::string>(&input)) {
    std::string copy = *text;
    return copy;
  }
  std::vector<Tensor> copy = *std::get_if<std::vector<Tensor>>(&input);
  return copy;
}

}  // namespace tidegate
