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

#include "base/crc32c.hpp"
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

}  // namespace

std::uint32_t snapshot_part(std::string_view model) noexcept {
  if (model.empty()) return 0;
  return std::max(crc32c(std::as_bytes(std::span(model))), 1U);
}

SnapshotWriter::SnapshotWriter(FileReplacement file, std::uint64_t capacity_bytes, std::int64_t unix_ms)
    : file_(std::move(file)), capacity_(capacity_bytes), unix_ms_(unix_ms), size_(sizeof(FileHeader)) {}

Result<SnapshotWriter> SnapshotWriter::open(const std::string& path, std::span<const CacheEntry> tables,
                                            std::uint64_t capacity_bytes, std::int64_t unix_ms) {
  TIDEGATE_TRY(FileReplacement file, FileReplacement::open(path));
  SnapshotWriter writer(std::move(file), capacity_bytes, unix_ms);
  // What it says is known at the end.
  TIDEGATE_CHECK(writer.file_.append(bytes_of(FileHeader{})));
  for (const CacheEntry& table : tables) {
    TIDEGATE_TRY(const Added added, writer.append(table, static_cast<std::uint32_t>(Kind::table), 0));
    writer.whole_ = writer.whole_ && added == Added::yes;
    writer.tables_ += added == Added::yes ? 1 : 0;
  }
  return writer;
}

Result<SnapshotWriter::Added> SnapshotWriter::add(const CacheEntry& answer, std::uint32_t part) {
  if (!whole_) return Added::no_room;
  TIDEGATE_TRY(const Added added, append(answer, static_cast<std::uint32_t>(Kind::answer), part));
  answers_ += added == Added::yes ? 1 : 0;
  return added;
}

Result<SnapshotWriter::Added> SnapshotWriter::append(const CacheEntry& entry, std::uint32_t kind, std::uint32_t part) {
  constexpr std::array<std::byte, 8> kPadding{};
  const std::uint64_t bytes = entry.record.bytes().size();
  const std::uint64_t size = sizeof(EntryHeader) + align_up(bytes);
  if (size_ + size > capacity_) return Added::no_room;
  size_ += size;
  TIDEGATE_CHECK(file_.append(bytes_of(header_of(entry, Kind{kind}, part, unix_ms_))));
  TIDEGATE_CHECK(file_.append(entry.record.bytes()));
  TIDEGATE_CHECK(file_.append(std::span(kPadding).first(align_up(bytes) - bytes)));
  return Added::yes;
}

Result<std::uint64_t> SnapshotWriter::commit() {
  FileHeader header;
  header.written = unix_ms_;
  header.answers = answers_;
  header.tables = tables_;
  header.checksum = checksum_of(header);
  TIDEGATE_CHECK(file_.rewrite_front(bytes_of(header)));
  TIDEGATE_CHECK(file_.commit());
  return answers_;
}

/// As it lies in the file.
struct SnapshotReader::Entry {
  Kind kind{};
  bool usable = false;
  Answer answer;
};

CacheEntry SnapshotReader::Answer::entry() const {
  return {key, CacheRecord(std::make_shared<const std::vector<std::byte>>(record.begin(), record.end())), time_to_live,
          recompute_cost};
}

SnapshotReader::SnapshotReader(std::span<const std::byte> file, std::int64_t unix_ms)
    : file_(file), unix_ms_(unix_ms), at_(file.size()), first_answer_(file.size()) {
  const auto header = header_at<FileHeader>(file, 0);
  if (!header || header->magic != kMagic || header->written - unix_ms > kClockTolerance) return;
  written_ = header->written;
  all_ = header->tables + header->answers;
  at_ = sizeof(FileHeader);
  for (std::uint32_t table = 0; table < header->tables; ++table) {
    const auto entry = next_entry();
    if (!entry) break;
    if (entry->usable && entry->kind == Kind::table) tables_.push_back(entry->answer.entry());
  }
  usable_tables_ = tables_.size();
  // A table that is lost would let come back what it made forgotten. It lives longer than any answer.
  if (tables_.size() < header->tables) at_ = file.size();
  first_answer_ = at_;
}

std::optional<SnapshotReader::Entry> SnapshotReader::next_entry() {
  const std::uint64_t place = at_;
  const auto header = header_at<EntryHeader>(file_, place);
  // Where the next one would begin nobody knows.
  at_ = file_.size();
  if (!header || header->magic != kEntryMagic || header->bytes > file_.size() - place - sizeof(EntryHeader)) {
    return std::nullopt;
  }
  const auto record = file_.subspan(place + sizeof(EntryHeader), header->bytes);
  at_ = std::min<std::uint64_t>(place + sizeof(EntryHeader) + align_up(header->bytes), file_.size());
  // A clock set back a little must not lengthen a life.
  const std::int64_t left = std::min(header->expires - unix_ms_, header->expires - written_);
  constexpr std::int64_t kMost = std::chrono::duration_cast<std::chrono::milliseconds>(Duration::max()).count();
  Entry entry;
  entry.kind = header->kind;
  entry.usable = left > 0 && verify_record(header->key, record);
  entry.answer = {header->key,  record, std::chrono::milliseconds(std::min(left, kMost)), Duration(header->cost),
                  header->part, place};
  return entry;
}

std::optional<SnapshotReader::Answer> SnapshotReader::next() {
  while (const auto entry = next_entry()) {
    if (entry->usable && entry->kind == Kind::answer) return entry->answer;
  }
  return std::nullopt;
}

std::uint64_t SnapshotReader::count_skipped() {
  std::uint64_t usable = usable_tables_;
  at_ = first_answer_;
  while (next()) ++usable;
  return all_ - std::min(all_, usable);
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
