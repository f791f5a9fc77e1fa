// Decisions in words.
#include <fmt/format.h>

#include <chrono>
#include <iterator>

#include "tidegate/queue.hpp"

namespace tidegate {
namespace {

double milli(Duration time) { return std::chrono::duration<double, std::milli>(time).count(); }

}  // namespace

std::string_view to_string(Trigger trigger) noexcept {
  switch (trigger) {
    case Trigger::idle_slot: return "idle_slot";
    case Trigger::full: return "full";
    case Trigger::linger: return "linger";
    case Trigger::drain: return "drain";
  }
  return "unknown";
}

std::string_view to_string(Fullness fullness) noexcept {
  switch (fullness) {
    case Fullness::nothing_left: return "nothing_left";
    case Fullness::rows: return "rows";
    case Fullness::tokens: return "tokens";
    case Fullness::bytes: return "bytes";
    case Fullness::gain: return "gain";
    case Fullness::deadline: return "deadline";
    case Fullness::padding: return "padding";
    case Fullness::signature: return "signature";
  }
  return "unknown";
}

std::string to_text(const BatchDecision& one) {
  std::string text =
      fmt::format("batch {}: {} items, {} tokens (longest {}) opened by {}, {}; stopped by {}", one.number, one.items,
                  one.tokens, one.longest, to_string(one.opened_by), to_string(one.trigger), to_string(one.fullness));
  fmt::format_to(std::back_inserter(text), ", {} passed over, {} left; oldest waited {:.3f} ms", one.passed_over,
                 one.left, milli(one.oldest_wait));
  if (one.slack != Duration::max()) {
    fmt::format_to(std::back_inserter(text), ", earliest deadline in {:.3f} ms", milli(one.slack));
  }
  if (one.newest_first) text += ", newest first";
  if (one.filler_rows > 0) fmt::format_to(std::back_inserter(text), ", {} filler rows", one.filler_rows);
  if (one.cut_items > 0) {
    fmt::format_to(std::back_inserter(text), "; {} cut by length: {:.3f} instead of {:.3f} ms", one.cut_items,
                   milli(one.cut_to), milli(one.cut_from));
  }
  if (one.predicted > Duration::zero()) {
    fmt::format_to(std::back_inserter(text), "; predicted {:.3f} ms, p95 {:.3f}, one by one {:.3f}",
                   milli(one.predicted), milli(one.predicted95), milli(one.alone));
  }
  if (one.actual > Duration::zero()) {
    fmt::format_to(std::back_inserter(text), "; took {:.3f} ms", milli(one.actual));
  }
  return text;
}

}  // namespace tidegate
