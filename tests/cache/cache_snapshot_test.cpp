#include "cache/cache_snapshot.hpp"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <map>

#include "base/mapped_file.hpp"
#include "cache_fixtures.hpp"
#include "fake_tiers.hpp"
#include "support/temporary_folder.hpp"

using namespace tidegate;
using namespace tidegate::test;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;

namespace {

constexpr std::int64_t kDay = 1'800'000'000'000;  // Unix milliseconds

struct CacheSnapshot {
  std::vector<CacheEntry> answers;
  std::vector<CacheEntry> tables;
};
struct CacheSnapshotRead {
  CacheSnapshot snapshot;
  std::uint64_t skipped = 0;
};

Result<std::uint64_t> write_cache_snapshot(const std::string& path, const CacheSnapshot& snapshot,
                                           std::uint64_t capacity_bytes, std::int64_t unix_ms) {
  auto writer = SnapshotWriter::open(path, snapshot.tables, capacity_bytes, unix_ms);
  if (!writer) return writer.error();
  for (const CacheEntry& answer : snapshot.answers) {
    if (auto added = writer->add(answer, 0); !added) return added.error();
  }
  return writer->commit();
}

CacheSnapshotRead read_cache_snapshot(const std::string& path, std::int64_t unix_ms) {
  CacheSnapshotRead read;
  const auto file = MappedFile::open(path);
  if (!file) {
    read.skipped = file.error().code() == ErrorCode::not_found ? 0 : 1;
    return read;
  }
  SnapshotReader reader(file->bytes(), unix_ms);
  read.snapshot.tables = reader.take_tables();
  while (const auto answer = reader.next()) read.snapshot.answers.push_back(answer->entry());
  read.skipped = reader.count_skipped();
  return read;
}

CacheSnapshot some_answers(std::size_t count, std::size_t tables = 0) {
  CacheSnapshot snapshot;
  for (std::size_t i = 0; i < count; ++i) {
    snapshot.answers.push_back(stored_answer(key_of(i), static_cast<float>(i), minutes(10 + i)));
  }
  for (std::size_t i = 0; i < tables; ++i) snapshot.tables.push_back(stored_answer(key_of(1000 + i), 5, hours(24)));
  return snapshot;
}

/// Every answer of `read` is one of `some_answers`, with its own bits.
bool only_true_answers(const CacheSnapshotRead& read, std::size_t count) {
  for (const CacheEntry& entry : read.snapshot.answers) {
    std::size_t number = 0;
    while (number < count && key_of(number) != entry.key) ++number;
    const auto outputs = decode_record(entry.key, entry.record, ChecksumPolicy::verify);
    if (number == count || !outputs || value_of(*outputs) != static_cast<float>(number)) return false;
    if (entry.time_to_live > minutes(10 + number)) return false;
  }
  return true;
}

struct SnapshotFile {
  TemporaryFolder folder;
  std::string path = folder.file("cache.snapshot");

  /// A process that writes snapshots of `few` and of `many` answers in turns until it is killed in the midst of it,
  /// some time after the `writes`-th has been written.
  void write_and_be_killed(std::size_t few, std::size_t many, int writes, unsigned later) const {
    int told[2];
    REQUIRE(::pipe(told) == 0);
    const pid_t writer = ::fork();
    REQUIRE(writer >= 0);
    if (writer == 0) {
      const CacheSnapshot snapshots[]{some_answers(few, 1), some_answers(many, 1)};
      for (std::size_t turn = 0;; ++turn) {
        if (!write_cache_snapshot(path, snapshots[turn % 2], 1 << 30, kDay) || ::write(told[1], ".", 1) != 1)
          ::_exit(1);
      }
    }
    ::close(told[1]);
    char dot = 0;
    for (int write = 0; write < writes; ++write) REQUIRE(::read(told[0], &dot, 1) == 1);
    volatile unsigned spent = 0;
    while (spent < later) spent = spent + 1;
    ::kill(writer, SIGKILL);
    int status = 0;
    REQUIRE(::waitpid(writer, &status, 0) == writer);
    ::close(told[0]);
    CHECK(WIFSIGNALED(status));
  }

  [[nodiscard]] CacheSnapshotRead read(std::int64_t now = kDay) const { return read_cache_snapshot(path, now); }
  std::uint64_t write(CacheSnapshot snapshot, std::uint64_t capacity = 1 << 20) const {
    const auto written = write_cache_snapshot(path, std::move(snapshot), capacity, kDay);
    REQUIRE(written);
    return *written;
  }
};

}  // namespace

TEST_CASE("cache snapshot: what was written is read back, with the life that is left") {
  const SnapshotFile file;
  CHECK(file.write(some_answers(7, 2)) == 7);
  const auto at_once = file.read();
  CHECK(at_once.skipped == 0);
  CHECK(at_once.snapshot.tables.size() == 2);
  CHECK(at_once.snapshot.answers.size() == 7);
  CHECK(only_true_answers(at_once, 7));
  // The answer of 10 minutes has ended, that of 11 has half a minute left.
  const auto later = file.read(kDay + 10 * 60'000 + 30'000);
  CHECK(later.skipped == 1);
  CHECK(later.snapshot.answers.size() == 6);
  CHECK(later.snapshot.answers.front().time_to_live == milliseconds(30'000));
}

TEST_CASE("cache snapshot: a file that is not there holds nothing, one that is no snapshot is skipped") {
  const SnapshotFile file;
  CHECK(file.read().skipped == 0);
  for (const char* text : {"", "short", "a text that is longer than the header of a snapshot would be, by far"}) {
    file.folder.write("cache.snapshot", text);
    CHECK(file.read().skipped == 1);
    CHECK(file.read().snapshot.answers.empty());
  }
  CHECK(read_cache_snapshot(file.folder.path(), kDay).skipped == 1);
}

TEST_CASE("cache snapshot: cut at any byte, it gives what is whole and counts the rest") {
  const SnapshotFile file;
  file.write(some_answers(4, 1));
  const std::string whole = file.folder.read("cache.snapshot");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    file.folder.write("cache.snapshot", std::string_view(whole).substr(0, size));
    const auto read = file.read();
    CHECK(only_true_answers(read, 4));
    CHECK((read.skipped > 0 || size + 8 > whole.size()));
    if (read.snapshot.tables.empty()) CHECK(read.snapshot.answers.empty());
  }
}

TEST_CASE("cache snapshot: with any byte changed, no answer is wrong and no invalidation is lost") {
  const SnapshotFile file;
  file.write(some_answers(3, 1));
  const std::string whole = file.folder.read("cache.snapshot");
  for (std::size_t at = 0; at < whole.size(); ++at) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x41);
    file.folder.write("cache.snapshot", damaged);
    const auto read = file.read();
    CHECK(only_true_answers(read, 3));
    if (read.snapshot.tables.empty()) CHECK(read.snapshot.answers.empty());
    CHECK((read.skipped > 0 || read.snapshot.answers.size() == 3));
  }
}

TEST_CASE("cache snapshot: within its bytes, the first ones are kept; without room for the tables, nothing") {
  const SnapshotFile file;
  const std::uint64_t all = file.write(some_answers(40, 1));
  CHECK(all == 40);
  const std::uint64_t size = std::filesystem::file_size(file.path);
  for (std::uint64_t capacity = 64; capacity < size; capacity += 997) {
    const std::uint64_t written = file.write(some_answers(40, 1), capacity);
    CHECK(std::filesystem::file_size(file.path) <= capacity);
    const auto read = file.read();
    CHECK(read.snapshot.answers.size() == written);
    CHECK(written < 40);
    for (std::size_t i = 0; i < read.snapshot.answers.size(); ++i) {
      CHECK(read.snapshot.answers[i].key == key_of(i));
    }
    if (written > 0) CHECK(read.snapshot.tables.size() == 1);
  }
}

TEST_CASE("cache snapshot: a clock set back by more than a minute makes everything too uncertain") {
  const SnapshotFile file;
  file.write(some_answers(2));
  const auto a_little = file.read(kDay - 59'000);
  CHECK(a_little.snapshot.answers.size() == 2);
  CHECK(only_true_answers(a_little, 2));
  CHECK(file.read(kDay - 61'000).snapshot.answers.empty());
  CHECK(file.read(kDay - 61'000).skipped == 1);
}

TEST_CASE("cache snapshot: a folder that is not there is an error, and the former file stays as it was") {
  const SnapshotFile file;
  CHECK(write_cache_snapshot(file.folder.file("no/such/folder/file"), some_answers(1), 1 << 20, kDay).error().code() ==
        ErrorCode::io_error);
  file.write(some_answers(1));
  file.folder.write("cache.snapshot.tmp", "what a writer that was killed has left");
  CHECK(file.read().snapshot.answers.size() == 1);
  CHECK(file.write(some_answers(3)) == 3);
  CHECK(file.read().snapshot.answers.size() == 3);
}

TEST_CASE("cache snapshot: after kill -9 while one is written, the former or the new one is there, whole") {
  const SnapshotFile file;
  constexpr std::size_t kFew = 100;
  constexpr std::size_t kMany = 700;
  int cut = 0;  // kills that have left a file half written
  for (int round = 0; round < 200 && (round < 20 || cut < 5); ++round) {
    file.write_and_be_killed(kFew, kMany, 1 + round % 3, 7919U * static_cast<unsigned>(round) % 400'000);
    cut += std::filesystem::exists(file.path + ".tmp") ? 1 : 0;
    const auto read = file.read();
    CHECK(read.skipped == 0);
    CHECK(read.snapshot.tables.size() == 1);
    CHECK((read.snapshot.answers.size() == kFew || read.snapshot.answers.size() == kMany));
    CHECK(only_true_answers(read, kMany));
  }
  CHECK(cut >= 5);
  CHECK(file.write(some_answers(3)) == 3);
  CHECK(file.read().snapshot.answers.size() == 3);
}
