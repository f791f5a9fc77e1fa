#include "simulator/cache_trace.hpp"

#include <cstring>
#include <limits>
#include <string_view>
#include <unordered_map>

#include "base/mapped_file.hpp"
#include "base/try.hpp"

namespace tidegate {
namespace {

constexpr std::size_t kRecordBytes = 24;
constexpr std::size_t kKeyOffset = 4;
constexpr std::size_t kSizeOffset = 12;

bool names_oracle_general(std::string_view path) { return path.ends_with(".bin") || path.ends_with(".oracleGeneral"); }

/// Numbers for keys as they appear.
template <class Key>
class KeyNumbers {
 public:
  [[nodiscard]] std::uint32_t number_of(const Key& key) {
    return numbers_.try_emplace(key, static_cast<std::uint32_t>(numbers_.size())).first->second;
  }
  [[nodiscard]] bool full() const noexcept { return numbers_.size() >= std::numeric_limits<std::uint32_t>::max(); }
  [[nodiscard]] std::uint32_t count() const noexcept { return static_cast<std::uint32_t>(numbers_.size()); }

 private:
  std::unordered_map<Key, std::uint32_t> numbers_;
};

Error too_many_keys(const std::string& path) {
  return Error(ErrorCode::too_large, "trace '" + path + "' has more than 4294967294 different keys; cut it in parts");
}

Result<CacheTrace> read_oracle_general(const std::string& path, std::span<const std::byte> bytes) {
  if (bytes.size() % kRecordBytes != 0) {
    return Error(ErrorCode::corrupt_data,
                 "trace '" + path + "' has " + std::to_string(bytes.size()) +
                     " bytes, not a multiple of 24: it is cut inside a record or not in oracleGeneral format");
  }
  CacheTrace trace{.sized = true};
  trace.lookups.reserve(bytes.size() / kRecordBytes);
  KeyNumbers<std::uint64_t> numbers;
  for (std::size_t at = 0; at < bytes.size(); at += kRecordBytes) {
    std::uint64_t key = 0;
    std::uint32_t size = 0;
    std::memcpy(&key, bytes.data() + at + kKeyOffset, sizeof(key));
    std::memcpy(&size, bytes.data() + at + kSizeOffset, sizeof(size));
    trace.lookups.push_back({numbers.number_of(key), size});
    if (numbers.full()) return too_many_keys(path);
  }
  trace.keys = numbers.count();
  return trace;
}

std::string_view trimmed(std::string_view line) {
  constexpr std::string_view kBlank = " \t\r";
  const std::size_t first = line.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return line.substr(first, line.find_last_not_of(kBlank) - first + 1);
}

Result<CacheTrace> read_keys(const std::string& path, std::string_view text) {
  CacheTrace trace;
  KeyNumbers<std::string_view> numbers;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view key = trimmed(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (key.empty() || key.front() == '#' || key.front() == '*') continue;
    trace.lookups.push_back({numbers.number_of(key), 1});
    if (numbers.full()) return too_many_keys(path);
  }
  trace.keys = numbers.count();
  return trace;
}

}  // namespace

Result<CacheTrace> read_cache_trace(const std::string& path, CacheTraceFormat format) {
  TIDEGATE_TRY(const MappedFile file, MappedFile::open(path));
  const std::span<const std::byte> bytes = file.bytes();
  if (format == CacheTraceFormat::automatic) {
    format = names_oracle_general(path) ? CacheTraceFormat::oracle_general : CacheTraceFormat::keys;
  }
  if (format == CacheTraceFormat::oracle_general) return read_oracle_general(path, bytes);
  return read_keys(path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

}  // namespace tidegate
