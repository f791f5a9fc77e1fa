// Texts of mixed lengths, made of the words of real sentences.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tidegate/modules.hpp"

namespace tidegate::load {

struct MixedTexts {
  std::vector<std::string> texts;
  double mean_tokens = 0;  ///< special tokens included
};

/// `count` texts with log-normal lengths of about `mean_tokens`, cut at 250, each a run of words of
/// `sentences` in their order. Errors: invalid_argument (no words; malformed UTF-8).
[[nodiscard]] Result<MixedTexts> make_mixed_texts(const std::vector<std::string>& sentences,
                                                  const TextTokenizer& tokenizer, std::size_t count, double mean_tokens,
                                                  std::uint64_t seed);

/// The lines of a file, or of standard input for "-". Errors: invalid_argument (there are none).
[[nodiscard]] Result<std::vector<std::string>> read_sentences(const std::string& path);

}  // namespace tidegate::load
