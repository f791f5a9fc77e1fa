// LinearKind: the four products of a layer, and who may look at what goes into them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tidegate {

enum class LinearKind : std::uint8_t { qkv, attention_output, intermediate, output };
inline constexpr std::size_t kLinearKinds = 4;

[[nodiscard]] constexpr std::string_view to_string(LinearKind kind) noexcept {
  switch (kind) {
    case LinearKind::qkv: return "qkv";
    case LinearKind::attention_output: return "attention_output";
    case LinearKind::intermediate: return "intermediate";
    case LinearKind::output: return "output";
  }
  return "unknown";
}

/// Sees the input rows of every product of an f32 network, on the thread that encodes.
class ActivationObserver {
 public:
  virtual ~ActivationObserver() = default;
  virtual void observe(std::size_t layer, LinearKind kind, const float* x, std::size_t stride, std::size_t rows,
                       std::size_t width) = 0;
};

}  // namespace tidegate
