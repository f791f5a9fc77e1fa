#include "runner/torch/torch_call.hpp"

#include <fmt/format.h>

#include <cctype>

namespace tidegate {
namespace {

constexpr std::string_view kInterpreterOpening = "The following operation failed in the TorchScript interpreter";
constexpr std::size_t kLongestCause = 400;  // bytes

/// "RuntimeError: ..." or "torch.jit.Error: ...", as the interpreter closes its traces.
bool names_exception(std::string_view line) {
  const std::size_t colon = line.find(": ");
  if (colon == std::string_view::npos || colon == 0) return false;
  const std::string_view name = line.substr(0, colon);
  for (const char c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '_' && c != '.') return false;
  }
  return name.ends_with("Error") || name.ends_with("Exception");
}

}  // namespace

std::string cause_of(std::string_view message) {
  const bool has_trace = message.starts_with(kInterpreterOpening);
  std::string_view cause;
  while (!message.empty()) {
    const std::size_t end = std::min(message.find('\n'), message.size());
    const std::string_view line = message.substr(0, end);
    message.remove_prefix(std::min(end + 1, message.size()));
    if (line.empty()) continue;
    if (cause.empty() || names_exception(line)) cause = line;
    if (!has_trace) break;
  }
  if (cause.empty()) return "libtorch gave no reason";
  return std::string(cause.substr(0, kLongestCause));
}

Error torch_error(std::string_view what, ErrorCode code, std::string_view message) {
  const bool no_memory = message.find("can't allocate memory") != std::string_view::npos;
  return Error(no_memory ? ErrorCode::out_of_memory : code, fmt::format("{}: {}", what, cause_of(message)));
}

}  // namespace tidegate
