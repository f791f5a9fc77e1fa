#include "base/mapped_file.hpp"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

#include "support/temporary_folder.hpp"

using namespace tidegate;

TEST_CASE("mapped file: shows a file's bytes, also of an empty one") {
  const test::TemporaryFolder folder;
  const std::string path = folder.file("data");
  std::ofstream(path, std::ios::binary) << "some bytes";
  const auto file = MappedFile::open(path);
  REQUIRE(file);
  CHECK(file->bytes().size() == 10);
  CHECK(static_cast<char>(file->bytes()[5]) == 'b');
  CHECK(*read_text_file(path) == "some bytes");
  const std::string empty = folder.file("empty");
  std::ofstream(empty).close();
  CHECK(MappedFile::open(empty)->bytes().empty());
}

TEST_CASE("mapped file: what cannot be mapped is an error that names it") {
  const test::TemporaryFolder folder;
  const std::string missing = folder.file("missing");
  const auto gone = MappedFile::open(missing);
  REQUIRE_FALSE(gone);
  CHECK(gone.error().code() == ErrorCode::not_found);
  CHECK(gone.error().message().find(missing) != std::string_view::npos);
  CHECK(MappedFile::open(folder.path()).error().code() == ErrorCode::io_error);
  const std::string big = folder.file("big");
  std::ofstream(big) << "0123456789";
  const auto refused = read_text_file(big, 9);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::too_large);
  CHECK(refused.error().limit() == 9);
}
