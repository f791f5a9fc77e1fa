// Differential tests: ids against those of the Hugging Face `tokenizers` library.
#include <doctest/doctest.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "base/mapped_file.hpp"
#include "encoder/tokenizer_support.hpp"
#include "runner/encoder/tokenizer.hpp"

using namespace tidegate;
namespace fs = std::filesystem;

namespace {

/// Records of the oracle's files: a count and as many items of Item.
template <class Item>
class Records {
 public:
  explicit Records(const fs::path& path) : file_(MappedFile::open(path.string())) { REQUIRE(file_.has_value()); }

  std::optional<std::vector<Item>> next() {
    const auto bytes = file_->bytes();
    if (at_ == bytes.size()) return std::nullopt;
    std::uint32_t count = 0;
    if (bytes.size() - at_ < sizeof(count)) FAIL("the oracle's file is cut short");
    std::memcpy(&count, bytes.data() + at_, sizeof(count));
    at_ += sizeof(count);
    if (bytes.size() - at_ < count * sizeof(Item)) FAIL("the oracle's file is cut short");
    std::vector<Item> items(count);
    if (count > 0) std::memcpy(items.data(), bytes.data() + at_, count * sizeof(Item));
    at_ += count * sizeof(Item);
    return items;
  }

 private:
  Result<MappedFile> file_;
  std::size_t at_ = 0;
};

std::string show(const std::vector<std::int32_t>& ids) {
  std::ostringstream out;
  for (std::size_t i = 0; i < ids.size() && i < 60; ++i) out << ids[i] << ' ';
  if (ids.size() > 60) out << "... (" << ids.size() << ")";
  return out.str();
}

std::string show(std::string_view text) {
  std::ostringstream out;
  for (const char c : text.substr(0, 200)) {
    if (c >= 0x20 && c < 0x7F) {
      out << c;
    } else {
      constexpr char kHex[] = "0123456789abcdef";
      out << "\\x" << kHex[static_cast<unsigned char>(c) >> 4] << kHex[c & 15];
    }
  }
  return out.str();
}

/// One line of the plan; answers how many texts were compared.
std::size_t compare(const fs::path& folder, std::uint32_t limit, const fs::path& corpus, const fs::path& expected) {
  auto tokenizer = Tokenizer::load(folder.string(), limit);
  INFO(folder.string());
  if (!tokenizer) FAIL(tokenizer.error().text());
  Records<char> texts(corpus);
  Records<std::int32_t> answers(expected);
  std::size_t compared = 0, different = 0;
  while (const auto bytes = texts.next()) {
    const std::string_view text(bytes->data(), bytes->size());
    const auto answer = answers.next();
    if (!answer) FAIL("the oracle has fewer answers than texts");
    const auto ids = tokenizer->encode(text);
    ++compared;
    if (ids && *ids == *answer) continue;
    // The first difference says enough; a thousand would bury it.
    if (++different > 1) continue;
    FAIL_CHECK("text " << compared << " of " << corpus.filename().string() << ", at most " << limit << " tokens: \""
                       << show(text) << "\"\n  expected " << show(*answer) << "\n  got      "
                       << (ids ? show(*ids) : ids.error().text()));
  }
  CHECK_MESSAGE(different == 0, different << " of " << compared << " texts differ");
  CHECK_FALSE(answers.next().has_value());
  return compared;
}

/// Runs one stage of the oracle and every comparison it plans.
std::size_t run_stage(const std::string& stage) {
  const auto model = test::model_folder();
  const std::string python = TIDEGATE_TEST_PYTHON;
  if (!model || std::system((python + " -c 'import tokenizers, numpy' 2>/dev/null").c_str()) != 0) {
    MESSAGE("no model or no Python package tokenizers in " << TIDEGATE_TEST_VENV << ": not compared");
    return 0;
  }
  const test::TemporaryFolder folder;
  const std::string script = std::string(TIDEGATE_TEST_SOURCE_DIR) + "/tests/encoder/tokenizer_oracle.py";
  const std::string command =
      python + " '" + script + "' " + stage + " '" + model->string() + "' '" + folder.path().string() + "'";
  REQUIRE(std::system(command.c_str()) == 0);

  std::ifstream plan(folder.path() / "plan.txt");
  std::string name, corpus, expected;
  std::uint32_t limit = 0;
  std::size_t compared = 0;
  while (plan >> name >> limit >> corpus >> expected) {
    compared += compare(folder.path() / name, limit, folder.path() / corpus, folder.path() / expected);
  }
  MESSAGE(stage << ": " << compared << " texts compared");
  REQUIRE(compared > 0);
  return compared;
}

}  // namespace

TEST_CASE("tokenizer: every code point, alone and inside a word, has the library's ids") {
  const std::size_t compared = run_stage("code_points");
  CHECK((compared == 0 || compared > 2 * 1112064));
}

TEST_CASE("tokenizer: random texts under every setting have the library's ids") {
  const std::size_t compared = run_stage("random");
  CHECK((compared == 0 || compared >= 100000));
}

TEST_CASE("tokenizer: truncated and huge texts have the library's ids") {
  const std::size_t compared = run_stage("truncation");
  CHECK((compared == 0 || compared >= 16000));
}
