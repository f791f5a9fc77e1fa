// Texts to work on: lines of a file or of standard input, or generated ones.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tidegate/result.hpp"

namespace tidegate::program {

/// Owns the bytes its lines point into.
struct TextLines {
  std::string name;         ///< the file, or "standard input"
  std::vector<char> bytes;  ///< not a string: moving must not move what the lines point to
  std::vector<std::string_view> lines;
};

/// Reads `path` ("-" = standard input) and splits at '\n' only; a last line without
/// one counts. Errors: not_found, io_error.
[[nodiscard]] Result<TextLines> read_lines(const std::string& path);

/// `count` English-like sentences of 4 to 60 words, the same for the same seed.
[[nodiscard]] std::vector<std::string> generated_sentences(std::size_t count, std::uint64_t seed);

}  // namespace tidegate::program
