// Saved form: a header line, then one line a fact. Ages are in nanoseconds.
//   tidegate-scaling-state 1
//   seen | scaled_to_zero
//   recommendation REPLICAS AGE
//   up CHANGE AGE fresh|outdated        (down likewise)
#include <charconv>
#include <limits>

#include "base/try.hpp"
#include "scaling/hpa_arithmetic.hpp"
#include "tidegate/scaling.hpp"

namespace tidegate {
namespace {

constexpr std::string_view kFormat = "tidegate-scaling-state ";
constexpr std::string_view kVersion = "1";

std::string number(TimePoint at, TimePoint now) { return std::to_string(hpa::age_of(at, now).count()); }

void save_events(std::string& out, std::string_view word, const std::vector<ScalingEvent>& events, TimePoint now) {
  for (const ScalingEvent& event : events) {
    out += word;
    out += ' ' + std::to_string(event.change) + ' ' + number(event.at, now) +
           (event.outdated ? " outdated\n" : " fresh\n");
  }
}

/// Cuts the text up to `end` off the front of `text`.
std::string_view take_until(std::string_view& text, char end) {
  const std::size_t length = std::min(text.find(end), text.size());
  const std::string_view head = text.substr(0, length);
  text.remove_prefix(std::min(length + 1, text.size()));
  return head;
}

/// Reads one line's words. The first failure sticks.
class LineReader {
 public:
  explicit LineReader(std::string_view line) : rest_(line) {}

  std::string_view word() { return take_until(rest_, ' '); }

  template <class Number>
  Number number() {
    const std::string_view text = word();
    Number value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || error != std::errc{} || end != text.data() + text.size()) failed_ = true;
    return value;
  }

  TimePoint time(TimePoint now) {
    const auto age = number<std::int64_t>();
    std::int64_t at = 0;
    if (__builtin_sub_overflow(std::int64_t{now.time_since_epoch().count()}, age, &at)) failed_ = true;
    return TimePoint{Duration{at}};
  }

  [[nodiscard]] bool complete() const noexcept { return !failed_ && rest_.empty(); }

 private:
  std::string_view rest_;
  bool failed_ = false;
};

bool load_line(std::string_view line, TimePoint now, ScalingState& state) {
  LineReader reader(line);
  const std::string_view word = reader.word();
  if (word == "seen") {
    state.seen = true;
  } else if (word == "scaled_to_zero") {
    state.scaled_to_zero = true;
  } else if (word == "recommendation") {
    const auto replicas = reader.number<std::int32_t>();
    state.recommendations.push_back({replicas, reader.time(now)});
  } else if (word == "up" || word == "down") {
    const auto change = reader.number<std::int32_t>();
    const TimePoint at = reader.time(now);
    const std::string_view flag = reader.word();
    if (change <= 0 || (flag != "fresh" && flag != "outdated")) return false;
    (word == "up" ? state.ups : state.downs).push_back({change, at, flag == "outdated"});
  } else {
    return false;
  }
  return reader.complete();
}

}  // namespace

std::string ScalingState::save(TimePoint now) const {
  std::string out = std::string(kFormat) + std::string(kVersion) + '\n';
  if (seen) out += "seen\n";
  if (scaled_to_zero) out += "scaled_to_zero\n";
  for (const ScalingRecommendation& entry : recommendations) {
    out += "recommendation " + std::to_string(entry.replicas) + ' ' + number(entry.at, now) + '\n';
  }
  save_events(out, "up", ups, now);
  save_events(out, "down", downs, now);
  return out;
}

Result<ScalingState> ScalingState::load(std::string_view text, TimePoint now) {
  const std::string_view header = take_until(text, '\n');
  if (!header.starts_with(kFormat)) return Error(ErrorCode::corrupt_data, "scaling state: line 1 is not its header");
  if (header.substr(kFormat.size()) != kVersion) {
    return Error(ErrorCode::version_mismatch, "scaling state: written in another version of the format");
  }
  ScalingState state;
  for (int line = 2; !text.empty(); ++line) {
    if (!load_line(take_until(text, '\n'), now, state)) {
      return Error(ErrorCode::corrupt_data, "scaling state: line " + std::to_string(line) + " is damaged");
    }
  }
  return state;
}

}  // namespace tidegate
