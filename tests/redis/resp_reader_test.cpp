// RespReader: whole replies, whatever the pieces, and nothing beyond its limits.
#include "cache/redis/resp_reader.hpp"

#include <doctest/doctest.h>

#include <random>
#include <string>

using namespace tidegate;
using Kind = RedisReply::Kind;

namespace {

constexpr ReplyLimits kLimits{1024, 16};

Result<std::optional<RedisReply>> read(std::string_view text, ReplyLimits limits = kLimits) {
  RespReader reader(limits);
  reader.feed(std::span(text.data(), text.size()));
  return reader.next();
}

bool waits_for_more(std::string_view text) {
  const auto next = read(text);
  return next && !*next;
}

}  // namespace

TEST_CASE("resp: every kind of reply is read as what it is") {
  CHECK((*read("+OK\r\n"))->text == "OK");
  CHECK((*read("-ERR no\r\n"))->kind == Kind::error);
  CHECK((*read(":-42\r\n"))->integer == -42);
  CHECK((*read("$-1\r\n"))->kind == Kind::nil);
  CHECK((*read("$0\r\n\r\n"))->as_text().empty());
  const auto mixed = read("*3\r\n$3\r\na\r\n\r\n$-1\r\n*1\r\n:7\r\n");
  REQUIRE(mixed);
  REQUIRE(*mixed);
  CHECK((*mixed)->elements.at(0).as_text() == "a\r\n");
  CHECK((*mixed)->elements.at(1).kind == Kind::nil);
  CHECK((*mixed)->elements.at(2).elements.at(0).integer == 7);
}

TEST_CASE("resp: cut at every byte it waits, and joined it is whole") {
  const std::string text = "*2\r\n$5\r\nhello\r\n-ERR \r\n";
  for (std::size_t cut = 0; cut < text.size(); ++cut) {
    CAPTURE(cut);
    CHECK(waits_for_more(text.substr(0, cut)));
    RespReader reader(kLimits);
    reader.feed(std::span(text.data(), cut));
    REQUIRE(reader.next());
    reader.feed(std::span(text.data() + cut, text.size() - cut));
    const auto whole = reader.next();
    REQUIRE(whole);
    REQUIRE(*whole);
    CHECK((*whole)->elements.at(0).as_text() == "hello");
  }
}

TEST_CASE("resp: giant lengths are refused or waited for, and nothing is reserved for them") {
  CHECK_FALSE(read("*17\r\n"));
  CHECK_FALSE(read("*2147483647\r\n"));
  CHECK_FALSE(read("*9223372036854775807\r\n"));
  CHECK_FALSE(read("*-7\r\n"));
  CHECK_FALSE(read("$-7\r\n"));
  CHECK(waits_for_more("$9223372036854775\r\nabc"));
  RespReader reader(kLimits);
  const std::string much(100'000, 'x');
  const std::string_view start = "$2000000000\r\n";
  reader.feed(std::span(start.data(), start.size()));
  REQUIRE(reader.next());
  reader.feed(std::span(much.data(), much.size()));
  const auto refused = reader.next();
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::too_large);
}

TEST_CASE("resp: the strings of one reply together stay within the limit") {
  const std::string part = "$600\r\n" + std::string(600, 'a') + "\r\n";
  CHECK(read("*1\r\n" + part));
  CHECK_FALSE(read("*2\r\n" + part + part));
  RespReader reader(kLimits);
  for (int i = 0; i < 10; ++i) {
    reader.feed(std::span(part.data(), part.size()));
    const auto one = reader.next();
    REQUIRE(one);
    CHECK((*one)->as_text().size() == 600);
  }
}

TEST_CASE("resp: what is not the protocol is an error, and random bytes do no harm") {
  for (const std::string_view text : {"hello\r\n", "\r\n", "%2\r\n", ",1.5\r\n", "#t\r\n", "*x\r\n", "$ \r\n"}) {
    CAPTURE(text);
    CHECK_FALSE(read(text));
  }
  std::mt19937_64 random(1);
  const std::string_view alphabet = "+-:$*0123456789\r\n\r\nab";
  int errors = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string text;
    for (std::size_t i = random() % 40; i > 0; --i) text += alphabet[random() % alphabet.size()];
    RespReader reader(kLimits);
    reader.feed(std::span(text.data(), text.size()));
    for (;;) {
      const auto next = reader.next();
      if (!next) ++errors;
      if (!next || !*next) break;
    }
  }
  CHECK(errors > 5'000);
  CHECK(errors < 20'000);
}

TEST_CASE("resp: arrays are refused beyond the depth that replies have, as soon as they are announced") {
  std::string deep;
  for (int depth = 1; depth <= 4; ++depth) {
    deep += "*1\r\n";
    CHECK(waits_for_more(deep));
    CHECK(*read(deep + "$-1\r\n"));
  }
  CHECK_FALSE(read(deep + "*1\r\n"));
}

TEST_CASE("resp: the elements of all arrays of one reply together stay within the limit") {
  CHECK(*read("*2\r\n*2\r\n:1\r\n:2\r\n*1\r\n:3\r\n"));
  CHECK(waits_for_more("*2\r\n*7\r\n*7\r\n"));
  CHECK_FALSE(read("*2\r\n*8\r\n*7\r\n"));
  CHECK_FALSE(read("*16\r\n*1\r\n"));
  RespReader reader(kLimits);
  const std::string_view part = "*9\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n";
  for (int i = 0; i < 10; ++i) {
    reader.feed(std::span(part.data(), part.size()));
    const auto one = reader.next();
    REQUIRE(one);
    REQUIRE(*one);
  }
}

TEST_CASE("resp: a command is written with the length of each argument") {
  std::string text = "before";
  const std::string_view arguments[] = {"SET", std::string_view("a\0b", 3), ""};
  append_command(text, arguments);
  CHECK(text == std::string("before*3\r\n$3\r\nSET\r\n$3\r\na\0b\r\n$0\r\n\r\n", 34));
}
