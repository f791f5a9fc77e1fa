#include "cache/redis/resp_reader.hpp"

#include <hiredis/hiredis.h>
#include <hiredis/read.h>

#include <algorithm>
#include <new>

namespace tidegate {
namespace {

/// Of the text of an error or status; the rest is cut.
constexpr std::size_t kLongestText = 512;
/// Arrays in one another: HELLO lists the modules and the arguments of each.
constexpr int kDeepest = 4;
/// Bytes of framing that may wait beside a reply's strings.
constexpr std::size_t kFraming = 64 * 1024;

#if HIREDIS_MAJOR >= 1
using ArrayLength = size_t;
#else
using ArrayLength = int;
#endif

}  // namespace

std::string_view RedisReply::as_text() const noexcept {
  if (kind != Kind::bulk || bulk == nullptr) return text;
  return {reinterpret_cast<const char*>(bulk->data()), bulk->size()};
}

/// Called back by hiredis. Null stops the reader; no exception passes through C.
struct RespReader::Builder {
  static RespReader& owner(const redisReadTask* task) { return *static_cast<RespReader*>(task->privdata); }

  /// Where the reply of this task goes: a new root, or its place in the array around it.
  static RedisReply* place(const redisReadTask* task) {
    if (task->parent == nullptr) return new (std::nothrow) RedisReply;
    auto* const around = static_cast<RedisReply*>(task->parent->obj);
    return &around->elements[static_cast<std::size_t>(task->idx)];
  }

  static void* string(const redisReadTask* task, char* text, size_t length) {
    RespReader& reader = owner(task);
    if (length > reader.limits_.bytes || (reader.held_ += length) > reader.limits_.bytes) return nullptr;
    RedisReply* const reply = place(task);
    if (reply == nullptr) return nullptr;
    try {
      if (task->type == REDIS_REPLY_STRING) {
        reply->kind = RedisReply::Kind::bulk;
        const auto* const bytes = reinterpret_cast<const std::byte*>(text);
        reply->bulk = std::make_shared<std::vector<std::byte>>(bytes, bytes + length);
      } else {
        reply->kind = task->type == REDIS_REPLY_ERROR ? RedisReply::Kind::error : RedisReply::Kind::status;
        reply->text.assign(text, std::min(length, kLongestText));
      }
    } catch (...) {
      return drop(task, reply);
    }
    return reply;
  }

  static void* array(const redisReadTask* task, ArrayLength length) {
    int depth = 1;
    for (const redisReadTask* around = task->parent; around != nullptr; around = around->parent) ++depth;
    RespReader& reader = owner(task);
    const auto more = static_cast<std::size_t>(length);
    if (depth > kDeepest || more > reader.limits_.elements - reader.elements_) return nullptr;
    reader.elements_ += more;
    RedisReply* const reply = place(task);
    if (reply == nullptr) return nullptr;
    reply->kind = RedisReply::Kind::array;
    try {
      reply->elements.resize(static_cast<std::size_t>(length));
    } catch (...) {
      return drop(task, reply);
    }
    return reply;
  }

  static void* integer(const redisReadTask* task, long long value) {
    RedisReply* const reply = place(task);
    if (reply == nullptr) return nullptr;
    reply->kind = RedisReply::Kind::integer;
    reply->integer = value;
    return reply;
  }

  static void* nil(const redisReadTask* task) { return place(task); }

  static void* drop(const redisReadTask* task, RedisReply* reply) {
    if (task->parent == nullptr) delete reply;
    return nullptr;
  }

  /// hiredis frees roots only.
  static void free(void* reply) { delete static_cast<RedisReply*>(reply); }

  static redisReplyObjectFunctions* functions() {
    static redisReplyObjectFunctions table = [] {
      redisReplyObjectFunctions made{};
      made.createString = string;
      made.createArray = array;
      made.createInteger = integer;
      made.createNil = nil;
      made.freeObject = free;
#if HIREDIS_MAJOR >= 1
      // Types of RESP3, which is never asked for.
      made.createDouble = [](const redisReadTask*, double, char*, size_t) -> void* { return nullptr; };
      made.createBool = [](const redisReadTask*, int) -> void* { return nullptr; };
#endif
      return made;
    }();
    return &table;
  }
};

void RespReader::FreeReader::operator()(redisReader* reader) const noexcept { redisReaderFree(reader); }

RespReader::RespReader(ReplyLimits limits)
    : limits_(limits), reader_(redisReaderCreateWithFunctions(Builder::functions())) {
  if (reader_ == nullptr) throw std::bad_alloc();
  reader_->privdata = this;
}

RespReader::~RespReader() = default;

void RespReader::feed(std::span<const char> bytes) {
  if (redisReaderFeed(reader_.get(), bytes.data(), bytes.size()) != REDIS_OK) throw std::bad_alloc();
}

Result<std::optional<RedisReply>> RespReader::next() {
  void* made = nullptr;
  if (redisReaderGetReply(reader_.get(), &made) != REDIS_OK) {
    if (reader_->err == REDIS_ERR_OOM) {
      return Error(ErrorCode::too_large, "redis: a reply is larger than what was asked for can be");
    }
    return Error(ErrorCode::corrupt_data, std::string("redis: ") + reader_->errstr);
  }
  if (made == nullptr) {
    if (reader_->len - reader_->pos > limits_.bytes + kFraming) {
      return Error(ErrorCode::too_large, "redis: a reply is larger than what was asked for can be");
    }
    return std::optional<RedisReply>();
  }
  held_ = 0;
  elements_ = 0;
  const std::unique_ptr<RedisReply> reply(static_cast<RedisReply*>(made));
  return std::optional(std::move(*reply));
}

void append_command(std::string& to, std::span<const std::string_view> arguments) {
  std::vector<const char*> texts;
  std::vector<std::size_t> lengths;
  texts.reserve(arguments.size());
  lengths.reserve(arguments.size());
  for (const std::string_view argument : arguments) {
    texts.push_back(argument.data());
    lengths.push_back(argument.size());
  }
  char* command = nullptr;
  const auto length = static_cast<long long>(
      redisFormatCommandArgv(&command, static_cast<int>(texts.size()), texts.data(), lengths.data()));
  if (length < 0) throw std::bad_alloc();
  const std::unique_ptr<char, decltype(&redisFreeCommand)> owned(command, &redisFreeCommand);
  to.append(command, static_cast<std::size_t>(length));
}

}  // namespace tidegate
