// Traces of arrivals, from CSV.
#include <fmt/format.h>

#include <array>
#include <charconv>
#include <fstream>
#include <optional>

#include "base/try.hpp"
#include "tidegate/simulator.hpp"

namespace tidegate {
namespace {

enum class Column : std::uint8_t { time_us, tokens, priority, tenant, deadline_us };
constexpr std::array<std::string_view, 5> kColumnNames{"time_us", "tokens", "class", "tenant", "deadline_us"};
constexpr std::int64_t kMostMicroseconds = 1'000'000LL * 3600 * 24 * 366;
constexpr std::int64_t kMostTokens = 1LL << 40;

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\r";
  const std::size_t begin = text.find_first_not_of(kSpaces);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpaces) - begin + 1);
}

std::vector<std::string_view> split(std::string_view line) {
  std::vector<std::string_view> fields;
  for (;;) {
    const std::size_t comma = line.find(',');
    fields.push_back(trimmed(line.substr(0, comma)));
    if (comma == std::string_view::npos) return fields;
    line.remove_prefix(comma + 1);
  }
}

/// A whole number of the range.
std::optional<std::int64_t> number(std::string_view text, std::int64_t least, std::int64_t most) {
  std::int64_t value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size()) return std::nullopt;
  return value >= least && value <= most ? std::optional(value) : std::nullopt;
}

class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path) {}

  Result<std::vector<QueueArrival>> read(std::istream& file) {
    std::vector<QueueArrival> trace;
    for (std::string line; std::getline(file, line);) {
      ++line_;
      const std::string_view text = trimmed(line);
      if (text.empty() || text.front() == '#') continue;
      if (columns_.empty()) {
        TIDEGATE_CHECK(take_names(text));
        continue;
      }
      TIDEGATE_TRY(QueueArrival arrival, arrival_of(text));
      if (!trace.empty() && arrival.at < trace.back().at) return wrong("time_us is before that of the line above");
      trace.push_back(std::move(arrival));
    }
    if (trace.empty()) return Error(ErrorCode::corrupt_data, fmt::format("{}: it holds no request", path_));
    return trace;
  }

 private:
  [[nodiscard]] Error wrong(std::string_view what) const {
    return Error(ErrorCode::corrupt_data, fmt::format("{}:{}: {}", path_, line_, what));
  }

  Result<void> take_names(std::string_view line) {
    for (const std::string_view name : split(line)) {
      std::size_t i = 0;
      while (i < kColumnNames.size() && kColumnNames[i] != name) ++i;
      if (i == kColumnNames.size()) {
        return wrong(
            fmt::format("there is no column '{}'; there are time_us, tokens, class, tenant, deadline_us", name));
      }
      columns_.push_back(static_cast<Column>(i));
    }
    for (const Column needed : {Column::time_us, Column::tokens}) {
      if (std::count(columns_.begin(), columns_.end(), needed) != 1) {
        return wrong(fmt::format("column '{}' is needed, once", kColumnNames[static_cast<std::size_t>(needed)]));
      }
    }
    return {};
  }

  Result<QueueArrival> arrival_of(std::string_view line) {
    const std::vector<std::string_view> fields = split(line);
    if (fields.size() != columns_.size()) {
      return wrong(fmt::format("{} fields, but {} columns", fields.size(), columns_.size()));
    }
    QueueArrival arrival;
    for (std::size_t i = 0; i < fields.size(); ++i) TIDEGATE_CHECK(take(columns_[i], fields[i], arrival));
    return arrival;
  }

  Result<void> take(Column column, std::string_view text, QueueArrival& arrival) {
    const std::string_view name = kColumnNames[static_cast<std::size_t>(column)];
    const auto refuse = [&](std::string_view range) {
      return wrong(fmt::format("{} is '{}'; it must be {}", name, text, range));
    };
    switch (column) {
      case Column::time_us: {
        const auto value = number(text, 0, kMostMicroseconds);
        if (!value) return refuse("a whole number of microseconds, a year at most");
        arrival.at = std::chrono::microseconds(*value);
        return {};
      }
      case Column::tokens: {
        const auto value = number(text, 1, kMostTokens);
        if (!value) return refuse("a whole number from 1");
        arrival.tokens = static_cast<std::uint64_t>(*value);
        return {};
      }
      case Column::deadline_us: {
        if (text.empty()) return {};
        const auto value = number(text, 0, kMostMicroseconds);
        if (!value) return refuse("empty or a whole number of microseconds after time_us");
        arrival.deadline = std::chrono::microseconds(*value);
        return {};
      }
      case Column::priority:
        if (text.empty()) return {};
        for (const Priority one : {Priority::critical, Priority::interactive, Priority::batch}) {
          if (to_string(one) != text) continue;
          arrival.priority = one;
          return {};
        }
        return refuse("critical, interactive or batch");
      case Column::tenant: arrival.tenant = text; return {};
    }
    return {};
  }

  const std::string& path_;
  std::size_t line_ = 0;
  std::vector<Column> columns_;
};

}  // namespace

Result<std::vector<QueueArrival>> read_queue_trace(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return Error(ErrorCode::not_found, fmt::format("cannot read the trace '{}'", path));
  return Reader(path).read(file);
}

}  // namespace tidegate
