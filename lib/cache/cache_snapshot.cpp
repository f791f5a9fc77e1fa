#include "cache/cache_snapshot.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <limits>
#include <numeric>

#include "base/crc32c.hpp"
#include "base/mapped_file.hpp"
#include "base/replace_file.hpp"
#include "base/try.hpp"
#include "request/record_codec.hpp"

// Layout, little-endian:
//    0 u64 magic "TGSNAP1\0"   8 i64 written, Unix milliseconds   16 u64 answers
//   24 u32 tables, which come first                               28 u32 CRC-32C of 0..27
// then for each entry
//    0 u32 magic "TGSE"        8 i64 end of its life, Unix milliseconds
//    4 u32 kind                16 i64 what its computation took, ns
//   24 u64 bytes of the record 32 key
//   64 u32 part of the model   68 u32 CRC-32C of 0..67
//   72 the record, which has a checksum of its own, to a multiple of 8
namespace tidegate {
namespace {

static_assert(std::endian::native == std::endian::little, "snapshots are written as they lie in memory");

constexpr std::uint64_t kMagic = 0x0031'5041'4E53'4754ULL;
constexpr std::uint32_t kEntryMagic = 0x4553'4754U;
constexpr std::int64_t kClockTolerance = 60'000;  // ms, as the disk tier's
enum class Kind : std::uint32_t { answer = 1, table = 2 };

struct FileHeader {
  std::uint64_t magic = kMagic;
  std::int64_t written = 0;
  std::uint64_t answers = 0;
  std::uint32_t tables = 0;
  std::uint32_t checksum = 0;
};
struct EntryHeader {
  std::uint32_t magic = kEntryMagic;
  Kind kind{};
  std::int64_t expires = 0;
  std::int64_t cost = 0;
  std::uint64_t bytes = 0;
  CacheKey key{};
  std::uint32_t part = 0;
  std::uint32_t checksum = 0;
};
static_assert(sizeof(FileHeader) == 32 && sizeof(EntryHeader) == 72);

template <class Header>
std::span<const std::byte> bytes_of(const Header& header) {
  return std::as_bytes(std::span(&header, 1));
}

template <class Header>
std::uint32_t checksum_of(const Header& header) {
  return crc32c(bytes_of(header).first(sizeof(Header) - sizeof(std::uint32_t)));
}

constexpr std::uint64_t align_up(std::uint64_t bytes) { return (bytes + 7) / 8 * 8; }

std::int64_t milliseconds(Duration span) { return std::chrono::duration_cast<std::chrono::milliseconds>(span).count(); }

std::int64_t date_after(std::int64_t unix_ms, Duration life) {
  const std::int64_t left = milliseconds(life);
  return left > std::numeric_limits<std::int64_t>::max() - unix_ms ? std::numeric_limits<std::int64_t>::max()
                                                                   : unix_ms + left;
}

EntryHeader header_of(const CacheEntry& entry, Kind kind, std::uint32_t part, std::int64_t unix_ms) {
  EntryHeader header;
  header.part = part;
  header.kind = kind;
  header.expires = date_after(unix_ms, entry.time_to_live);
  header.cost = entry.recompute_cost.count();
  header.bytes = entry.record.bytes().size();
  header.key = entry.key;
  header.checksum = checksum_of(header);
  return header;
}

template <class Header>
std::optional<Header> header_at(std::span<const std::byte> file, std::uint64_t at) {
  if (at > file.size() || file.size() - at < sizeof(Header)) return std::nullopt;
  Header header;
  std::memcpy(&header, file.data() + at, sizeof header);
  return header.checksum == checksum_of(header) ? std::optional(header) : std::nullopt;
}

/// The entry, if its record is whole and it has life left.
std::optional<CacheEntry> entry_of(const EntryHeader& header, std::span<const std::byte> record, std::int64_t written,
                                   std::int64_t unix_ms) {
  // A clock set back a little must not lengthen a life.
  const std::int64_t left = std::min(header.expires - unix_ms, header.expires - written);
  if (left <= 0 || !verify_record(header.key, record)) return std::nullopt;
  constexpr std::int64_t kMost = std::chrono::duration_cast<std::chrono::milliseconds>(Duration::max()).count();
  auto block = std::make_shared<const std::vector<std::byte>>(record.begin(), record.end());
  return CacheEntry{header.key, CacheRecord(std::move(block)), std::chrono::milliseconds(std::min(left, kMost)),
                    Duration(header.cost)};
}

}  // namespace

std::uint32_t snapshot_part(std::string_view model) noexcept {
  if (model.empty()) return 0;
  return std::max(crc32c(std::as_bytes(std::span(model))), 1U);
}

Result<std::uint64_t> write_cache_snapshot(const std::string& path, CacheSnapshot snapshot,
                                           std::uint64_t capacity_bytes, std::int64_t unix_ms) {
  constexpr std::array<std::byte, 8> kPadding{};
  std::vector<CacheEntry>& answers = snapshot.answers;
  std::vector<std::size_t> order(answers.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return answers[a].time_to_live > answers[b].time_to_live; });
  FileHeader header;
  header.written = unix_ms;
  std::vector<EntryHeader> headers;
  std::vector<std::span<const std::byte>> parts;
  headers.reserve(snapshot.tables.size() + answers.size());  // the parts point into it
  parts.reserve(1 + 3 * headers.capacity());
  parts.push_back(bytes_of(header));
  std::uint64_t size = sizeof header;
  const auto add = [&](const CacheEntry& entry, Kind kind, std::uint32_t part) {
    const std::uint64_t bytes = entry.record.bytes().size();
    if (size + sizeof(EntryHeader) + align_up(bytes) > capacity_bytes) return false;
    size += sizeof(EntryHeader) + align_up(bytes);
    parts.push_back(bytes_of(headers.emplace_back(header_of(entry, kind, part, unix_ms))));
    parts.push_back(entry.record.bytes());
    parts.push_back(std::span(kPadding).first(align_up(bytes) - bytes));
    return true;
  };
  // Without a table what it made forgotten would come back: then rather no answers either.
  bool whole = true;
  for (const CacheEntry& table : snapshot.tables) whole = add(table, Kind::table, 0) && whole;
  header.tables = static_cast<std::uint32_t>(headers.size());
  for (const std::size_t i : order) {
    header.answers += whole && add(answers[i], Kind::answer, snapshot.part_of(i)) ? 1 : 0;
  }
  header.checksum = checksum_of(header);
  TIDEGATE_CHECK(replace_file(path, parts));
  return header.answers;
}

CacheSnapshotRead read_cache_snapshot(const std::string& path, std::int64_t unix_ms) {
  CacheSnapshotRead read;
  const auto mapped = MappedFile::open(path);
  if (mapped) return read_cache_snapshot(mapped->bytes(), unix_ms);
  read.skipped = mapped.error().code() == ErrorCode::not_found ? 0 : 1;
  return read;
}

CacheSnapshotRead read_cache_snapshot(std::span<const std::byte> file, std::int64_t unix_ms) {
  CacheSnapshotRead read;
  const auto header = header_at<FileHeader>(file, 0);
  if (!header || header->magic != kMagic || header->written - unix_ms > kClockTolerance) {
    read.skipped = 1;
    return read;
  }
  std::vector<CacheEntry>& tables = read.snapshot.tables;
  std::vector<CacheEntry>& answers = read.snapshot.answers;
  for (std::uint64_t at = sizeof(FileHeader); at < file.size();) {
    const auto entry = header_at<EntryHeader>(file, at);
    // Where the next one would begin nobody knows.
    if (!entry || entry->magic != kEntryMagic || entry->bytes > file.size() - at - sizeof(EntryHeader)) break;
    const auto record = file.subspan(at + sizeof(EntryHeader), entry->bytes);
    auto usable = entry_of(*entry, record, header->written, unix_ms);
    if (usable && entry->kind != Kind::table) read.snapshot.parts.push_back(entry->part);
    if (usable) (entry->kind == Kind::table ? tables : answers).push_back(*std::move(usable));
    at += sizeof(EntryHeader) + align_up(entry->bytes);
  }
  // A table that is lost would let come back what it made forgotten. It lives longer than any answer.
  if (tables.size() < header->tables) answers.clear();
  const std::uint64_t all = header->tables + header->answers;
  read.skipped = all - std::min<std::uint64_t>(all, tables.size() + answers.size());
  return read;
}

Result<void> remove_cache_snapshot(const std::string& path) {
  const auto failed = [&] {
    return Error(ErrorCode::io_error, fmt::format("cannot remove '{}': {}", path, std::strerror(errno)));
  };
  if (::unlink(path.c_str()) != 0 && errno != ENOENT && errno != ENOTDIR) return failed();
  const std::string parent = std::filesystem::path(path).parent_path().string();
  const int folder = ::open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0 && (errno == ENOENT || errno == ENOTDIR)) return {};
  const bool synced = folder >= 0 && ::fsync(folder) == 0;
  const auto error = synced ? Result<void>() : failed();
  if (folder >= 0) ::close(folder);
  return error;
}

}  // namespace tidegate
