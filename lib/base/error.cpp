#include "tidegate/error.hpp"

#include <fmt/format.h>

namespace tidegate {

std::string Error::text() const {
  std::string out = fmt::format("{}: {}", to_string(code_), message());
  const bool numbers = observed_ != 0 || limit_ != 0;
  const double retry_ms = std::chrono::duration<double, std::milli>(retry_after_).count();
  if (numbers && retry_ms > 0) {
    out += fmt::format(" (observed {}, limit {}; retry after {:.3g} ms)", observed_, limit_, retry_ms);
  } else if (numbers) {
    out += fmt::format(" (observed {}, limit {})", observed_, limit_);
  } else if (retry_ms > 0) {
    out += fmt::format(" (retry after {:.3g} ms)", retry_ms);
  }
  return out;
}

}  // namespace tidegate
