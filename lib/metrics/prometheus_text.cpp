// Writes exposition format 0.0.4. What the format cannot carry is made to fit:
// characters outside a name's alphabet become '_', malformed UTF-8 becomes U+FFFD.
#include <charconv>
#include <cmath>
#include <map>
#include <string_view>

#include "base/utf8.hpp"
#include "tidegate/metrics.hpp"

namespace tidegate {
namespace {

enum class Colon : std::uint8_t { allowed, replaced };  // metric names may hold ':', label names may not

std::string as_name(std::string_view raw, Colon colon) {
  std::string name;
  if (raw.empty() || (raw[0] >= '0' && raw[0] <= '9')) name += '_';
  for (const char c : raw) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    const bool digit = c >= '0' && c <= '9';
    name += letter || digit || (c == ':' && colon == Colon::allowed) ? c : '_';
  }
  return name;
}

std::string as_utf8(std::string_view raw) {
  std::string text;
  for (;;) {
    const std::size_t bad = find_invalid_utf8(raw);
    text += raw.substr(0, bad);
    if (bad == std::string_view::npos) return text;
    text += "\xEF\xBF\xBD";
    raw.remove_prefix(bad + 1);
  }
}

enum class Quote : std::uint8_t { plain, escaped };  // only label values escape '"'

void append_escaped(std::string& out, std::string_view raw, Quote quote) {
  for (const char c : as_utf8(raw)) {
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '"' && quote == Quote::escaped) {
      out += "\\\"";
    } else {
      out += c;
    }
  }
}

template <class Number>
void append_number(std::string& out, Number value) {
  if constexpr (std::is_floating_point_v<Number>) {
    if (std::isnan(value)) {
      out += "NaN";
      return;
    }
    if (std::isinf(value)) {
      out += value > 0 ? "+Inf" : "-Inf";
      return;
    }
  }
  char digits[32];  // the shortest form that reads back equal is at most 24 characters
  const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
  out.append(digits, end);
}

void append_labels(std::string& out, const MetricLabels& labels, std::string_view le) {
  if (labels.empty() && le.empty()) return;
  char separator = '{';
  for (const auto& [name, value] : labels) {
    out += separator;
    out += as_name(name, Colon::replaced);
    out += "=\"";
    append_escaped(out, value, Quote::escaped);
    out += '"';
    separator = ',';
  }
  if (!le.empty()) {
    out += separator;
    out += "le=\"";
    out += le;
    out += '"';
  }
  out += '}';
}

template <class Number>
void append_line(std::string& out, const std::string& name, const MetricSample& sample, std::string_view le,
                 Number value) {
  out += name;
  append_labels(out, sample.labels, le);
  out += ' ';
  append_number(out, value);
  out += '\n';
}

void append_histogram(std::string& out, const std::string& name, const MetricSample& sample) {
  for (const auto& [upper, cumulative] : sample.buckets) {
    std::string le;
    append_number(le, upper);
    append_line(out, name + "_bucket", sample, le, cumulative);
  }
  append_line(out, name + "_bucket", sample, "+Inf", sample.count);
  append_line(out, name + "_sum", sample, {}, sample.value);
  append_line(out, name + "_count", sample, {}, sample.count);
}

std::string_view type_name(MetricKind kind) noexcept {
  switch (kind) {
    case MetricKind::counter: return "counter";
    case MetricKind::gauge: return "gauge";
    case MetricKind::histogram: return "histogram";
  }
  return "untyped";
}

void append_family(std::string& out, const std::string& name, const std::vector<const MetricSample*>& family) {
  out += "# HELP " + name + ' ';
  append_escaped(out, family.front()->help, Quote::plain);
  out += "\n# TYPE " + name + ' ';
  out += type_name(family.front()->kind);
  out += '\n';
  for (const MetricSample* sample : family) {
    if (sample->kind == MetricKind::histogram) {
      append_histogram(out, name, *sample);
    } else {
      append_line(out, name, *sample, {}, sample->value);
    }
  }
}

}  // namespace

std::string to_prometheus(const MetricsSnapshot& snapshot) {
  // The format wants a family's lines together: ordered by name, then as given.
  std::map<std::string, std::vector<const MetricSample*>> families;
  for (const MetricSample& sample : snapshot.samples) {
    auto& family = families[as_name(sample.name, Colon::allowed)];
    // One name has one type; a sample of another would make the text unreadable.
    if (family.empty() || family.front()->kind == sample.kind) family.push_back(&sample);
  }
  std::string out;
  for (const auto& [name, family] : families) append_family(out, name, family);
  return out;
}

}  // namespace tidegate
