#include "text_source.hpp"

#include <fmt/core.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>

namespace tidegate::program {

Result<TextLines> read_lines(const std::string& path) {
  const bool standard_input = path == "-";
  TextLines text;
  text.name = standard_input ? "standard input" : path;
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> opened(
      standard_input ? nullptr : std::fopen(path.c_str(), "rb"), [](std::FILE* f) { return f ? std::fclose(f) : 0; });
  std::FILE* file = standard_input ? stdin : opened.get();
  if (file == nullptr) {
    const ErrorCode code = errno == ENOENT ? ErrorCode::not_found : ErrorCode::io_error;
    return Error(code, fmt::format("cannot open '{}': {}", path, std::strerror(errno)));
  }
  char block[1 << 16];
  std::size_t got = 0;
  while ((got = std::fread(block, 1, sizeof block, file)) > 0) text.bytes.insert(text.bytes.end(), block, block + got);
  if (std::ferror(file) != 0) {
    return Error(ErrorCode::io_error, fmt::format("cannot read '{}': {}", text.name, std::strerror(errno)));
  }
  std::string_view rest(text.bytes.data(), text.bytes.size());
  while (!rest.empty()) {
    const std::size_t end = rest.find('\n');
    text.lines.push_back(rest.substr(0, end));
    if (end == std::string_view::npos) break;
    rest.remove_prefix(end + 1);
  }
  return text;
}

std::vector<std::string> generated_sentences(std::size_t count, std::uint64_t seed) {
  static constexpr const char* kWords[] = {
      "the",     "a",      "of",      "and",     "harbour",  "ship",     "captain", "storm",  "rises",   "over",
      "quiet",   "water",  "light",   "signals", "from",     "northern", "coast",   "while",  "sailors", "repair",
      "their",   "nets",   "old",     "engine",  "turns",    "slowly",   "under",   "heavy",  "clouds",  "market",
      "opens",   "early",  "morning", "people",  "carry",    "baskets",  "full",    "silver", "fish",    "children",
      "watch",   "gulls",  "circle",  "above",   "tower",    "clock",    "strikes", "seven",  "before",  "anyone",
      "answers", "letter", "arrived", "late",    "yesterday"};
  std::mt19937_64 random(seed);
  std::lognormal_distribution<double> length(2.6, 0.6);
  std::vector<std::string> sentences(count);
  for (std::string& sentence : sentences) {
    const auto words = static_cast<std::size_t>(std::min(60.0, std::max(4.0, length(random))));
    for (std::size_t i = 0; i < words; ++i) {
      if (i > 0) sentence += ' ';
      sentence += kWords[random() % std::size(kWords)];
    }
    sentence += '.';
  }
  return sentences;
}

}  // namespace tidegate::program
