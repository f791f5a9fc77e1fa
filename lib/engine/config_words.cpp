// The words of configuration values, and which of them a misspelt one is nearest to.
#include <algorithm>

#include "engine/config_schema.hpp"

namespace tidegate::config {

std::vector<std::string_view> split_values(std::string_view values) {
  std::vector<std::string_view> list;
  if (values.empty()) return list;
  for (;;) {
    const std::size_t bar = values.find('|');
    list.push_back(values.substr(0, bar));
    if (bar == std::string_view::npos) return list;
    values.remove_prefix(bar + 1);
  }
}

std::string_view nearest_value(std::string_view values, std::string_view value) {
  std::string_view nearest;
  std::size_t best = std::string_view::npos;
  for (const std::string_view candidate : split_values(values)) {
    const std::size_t edits = edit_distance(value, candidate);
    const bool alike = 3 * edits < 2 * std::max(value.size(), candidate.size());
    if (!candidate.empty() && alike && edits < best) {
      best = edits;
      nearest = candidate;
    }
  }
  return nearest;
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  // Optimal string alignment over three rolling rows.
  std::vector<std::size_t> before(b.size() + 1);
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replace = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, replace});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

}  // namespace tidegate::config
