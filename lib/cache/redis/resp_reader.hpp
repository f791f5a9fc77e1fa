// RespReader: replies out of the bytes a Redis server sends, by hiredis, within limits.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tidegate/result.hpp"

struct redisReader;

namespace tidegate {

struct RedisReply {
  enum class Kind : std::uint8_t { nil, status, bulk, integer, error, array };

  Kind kind = Kind::nil;
  std::string text{};                              ///< status, error
  std::shared_ptr<std::vector<std::byte>> bulk{};  ///< a block of its own, so it can become a record
  std::int64_t integer = 0;
  std::vector<RedisReply> elements{};

  /// The text of a status, an error or a bulk.
  [[nodiscard]] std::string_view as_text() const noexcept;
};

/// What one reply may hold: a server that sends more is not one.
struct ReplyLimits {
  std::size_t bytes = 0;     ///< of all strings of a reply together
  std::size_t elements = 0;  ///< of all arrays of a reply together
};

/// Nothing is reserved for what a length merely announces. Thread-compatible.
class RespReader {
 public:
  explicit RespReader(ReplyLimits limits);
  ~RespReader();
  RespReader(const RespReader&) = delete;
  RespReader& operator=(const RespReader&) = delete;

  void feed(std::span<const char> bytes);
  /// The next whole reply; empty = it takes more bytes. Errors: corrupt_data, too_large;
  /// the reader is of no use then.
  [[nodiscard]] Result<std::optional<RedisReply>> next();

 private:
  struct Builder;
  struct FreeReader {
    void operator()(redisReader* reader) const noexcept;
  };
  const ReplyLimits limits_;
  std::size_t held_ = 0;      ///< bytes of strings of the reply that is being read
  std::size_t elements_ = 0;  ///< announced by its arrays
  std::unique_ptr<redisReader, FreeReader> reader_;
};

/// A command in the protocol's form, appended to `to`.
void append_command(std::string& to, std::span<const std::string_view> arguments);

}  // namespace tidegate
