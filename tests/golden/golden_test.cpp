// The vectors of stored answers through the C++ functions.
#include <doctest/doctest.h>

#include <fstream>
#include <iterator>
#include <sstream>

#include "base/sha256.hpp"
#include "tidegate/stored_answer.hpp"

using namespace tidegate;

namespace {

std::string bytes_of(const std::string& hex) {
  std::string bytes;
  for (std::size_t i = 0; hex != "-" && i + 1 < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  }
  return bytes;
}

Digest digest_of(const std::string& hex) {
  const std::string bytes = bytes_of(hex);
  Digest digest;
  REQUIRE(bytes.size() == digest.size());
  std::copy(bytes.begin(), bytes.end(), digest.begin());
  return digest;
}

struct Vector {
  std::string name{};
  Digest fingerprint{};
  Digest digest{};
  std::string encoding{};
  std::optional<std::string> text{};
  StoredAnswer answer{};
  std::string record{};
};

Tensor tensor_of(std::istream& words) {
  int type = 0;
  std::string dims, hex;
  words >> type >> dims >> hex;
  Shape shape;
  std::istringstream list(dims == "-" ? "" : dims);
  for (std::string one; std::getline(list, one, ',');) shape.push_back(std::stoll(one));
  const std::string bytes = bytes_of(hex);
  auto tensor = Tensor::copy_of(static_cast<DataType>(type), shape, std::as_bytes(std::span(bytes)));
  REQUIRE(tensor);
  return *std::move(tensor);
}

std::vector<Vector> vectors(const std::string& kind) {
  std::ifstream file(TIDEGATE_TEST_SOURCE_DIR "/tests/golden/vectors.txt");
  REQUIRE(file.good());
  std::vector<Vector> found;
  bool wanted = false;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string word, rest;
    words >> word;
    if (word == "key" || word == "record") {
      wanted = word == kind;
      if (wanted) found.push_back({line});
    }
    if (!wanted || word == "#") continue;
    Vector& vector = found.back();
    if (word == "tensor") vector.answer.outputs.push_back(tensor_of(words));
    words >> rest;
    if (word == "fingerprint") vector.fingerprint = digest_of(rest);
    if (word == "digest") vector.digest = digest_of(rest);
    if (word == "encoding") vector.encoding = bytes_of(rest);
    if (word == "text") vector.text = bytes_of(rest);
    if (word == "bytes") vector.record = bytes_of(rest);
    if (word == "expires_unix_ms") vector.answer.expires_unix_ms = std::stoll(rest);
    if (word == "recompute_ns") vector.answer.recompute_cost = Duration(std::stoll(rest));
  }
  return found;
}

}  // namespace

TEST_CASE("golden vectors: every key is the SHA-256 of its encoding and what the library makes of the input") {
  const auto all = vectors("key");
  CHECK(all.size() == 29);
  for (const Vector& vector : all) {
    INFO(vector.name);
    CHECK(Sha256().update(vector.encoding).finish() == vector.digest);
    const Input input = vector.text ? Input(*vector.text) : Input(vector.answer.outputs);
    CHECK(to_hex(request_key(vector.fingerprint, input)) == to_hex(vector.digest));
  }
}

TEST_CASE("golden vectors: every record is written byte for byte and read back") {
  const auto all = vectors("record");
  CHECK(all.size() == 25);
  for (const Vector& vector : all) {
    INFO(vector.name);
    const auto record = write_answer(vector.digest, vector.answer);
    REQUIRE(record);
    const auto wanted = std::as_bytes(std::span(vector.record));
    CHECK(std::equal(record->bytes().begin(), record->bytes().end(), wanted.begin(), wanted.end()));
    const auto answer = read_answer(vector.digest, wanted);
    REQUIRE(answer);
    CHECK(answer->expires_unix_ms == vector.answer.expires_unix_ms);
    REQUIRE(answer->outputs.size() == vector.answer.outputs.size());
    for (std::size_t i = 0; i < answer->outputs.size(); ++i) {
      const Tensor& found = answer->outputs[i];
      const Tensor& expected = vector.answer.outputs[i];
      const bool same =
          found.type() == expected.type() && found.shape() == expected.shape() &&
          std::equal(found.bytes().begin(), found.bytes().end(), expected.bytes().begin(), expected.bytes().end());
      CHECK(same);
    }
    Digest other = vector.digest;
    other[0] ^= 1;
    CHECK(read_answer(other, wanted).error().code() == ErrorCode::corrupt_data);
  }
}
