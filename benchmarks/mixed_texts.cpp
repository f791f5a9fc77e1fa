#include "mixed_texts.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iostream>
#include <random>
#include <sstream>

namespace tidegate::load {
namespace {

constexpr double kSigma = 0.7;    // of the logarithm of the length
constexpr double kLongest = 250;  // tokens; models of this kind take 256
constexpr std::size_t kMostWords = 1 << 16;

struct Word {
  std::string text;
  std::size_t tokens = 0;  ///< without the special ones
};

Result<std::vector<Word>> count_words(const std::vector<std::string>& sentences, const TextTokenizer& tokenizer) {
  const auto empty = tokenizer.encode("");
  if (!empty) return empty.error();
  std::vector<Word> words;
  for (const std::string& sentence : sentences) {
    std::istringstream stream(sentence);
    for (std::string word; stream >> word && words.size() < kMostWords;) {
      const auto ids = tokenizer.encode(word);
      if (!ids) return ids.error();
      words.push_back({std::move(word), ids->size() - empty->size()});
    }
  }
  if (words.empty()) return Error(ErrorCode::invalid_argument, "the sentences hold no words");
  return words;
}

}  // namespace

Result<MixedTexts> make_mixed_texts(const std::vector<std::string>& sentences, const TextTokenizer& tokenizer,
                                    std::size_t count, double mean_tokens, std::uint64_t seed) {
  const auto words = count_words(sentences, tokenizer);
  if (!words) return words.error();
  std::mt19937_64 random(seed);
  std::lognormal_distribution<double> length(std::log(mean_tokens) - kSigma * kSigma / 2, kSigma);
  MixedTexts mixed;
  double tokens = 0;
  for (std::size_t next = 0; mixed.texts.size() < count;) {
    const double wanted = std::clamp(length(random), 3.0, kLongest);
    double has = 2;  // the special tokens
    std::string text;
    do {
      const Word& word = (*words)[next++ % words->size()];
      text += (text.empty() ? "" : " ") + word.text;
      has += static_cast<double>(word.tokens);
    } while (has < wanted);
    tokens += has;
    mixed.texts.push_back(std::move(text));
  }
  mixed.mean_tokens = tokens / static_cast<double>(std::max<std::size_t>(1, count));
  return mixed;
}

Result<std::vector<std::string>> read_sentences(const std::string& path) {
  std::ifstream file;
  if (path != "-") file.open(path);
  std::istream& in = path == "-" ? std::cin : file;
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(std::move(line));
  if (lines.empty()) return Error(ErrorCode::invalid_argument, "--input " + path + ": no lines can be read from it");
  return lines;
}

}  // namespace tidegate::load
