#include "runner/plain_input.hpp"

#include <fmt/format.h>

#include "base/utf8.hpp"

namespace tidegate {

Result<void> check_plain_input(const Input& input) {
  const auto* text = std::get_if<std::string>(&input);
  if (text == nullptr) return {};
  const std::size_t offset = find_invalid_utf8(*text);
  if (offset == std::string_view::npos) return {};
  return Error(ErrorCode::invalid_argument, fmt::format("the text is not UTF-8: byte {} is wrong", offset));
}

std::uint64_t input_bytes(const Input& input) noexcept {
  if (const auto* text = std::get_if<std::string>(&input)) return text->size();
  std::uint64_t bytes = 0;
  for (const Tensor& tensor : *std::get_if<std::vector<Tensor>>(&input)) bytes += tensor.bytes().size();
  return bytes;
}

}  // namespace tidegate
