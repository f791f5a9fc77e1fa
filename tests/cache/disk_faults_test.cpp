#include <doctest/doctest.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <random>

#include "cache/disk_fixtures.hpp"

using namespace tidegate;
using namespace tidegate::test;
using namespace std::chrono_literals;

namespace fs = std::filesystem;

namespace {

/// Writes fail with an error of the test's choice; reading goes on.
class FailingFiles final : public rocksdb::FileSystemWrapper {
 public:
  FailingFiles() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}
  static const char* kClassName() { return "FailingFiles"; }
  const char* Name() const override { return kClassName(); }

  rocksdb::IOStatus NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* result,
                                    rocksdb::IODebugContext* debug) override {
    std::unique_ptr<rocksdb::FSWritableFile> file;
    auto status = FileSystemWrapper::NewWritableFile(name, options, &file, debug);
    if (status.ok()) *result = std::make_unique<File>(std::move(file), *this);
    return status;
  }

  rocksdb::IOStatus NewRandomAccessFile(const std::string& name, const rocksdb::FileOptions& options,
                                        std::unique_ptr<rocksdb::FSRandomAccessFile>* result,
                                        rocksdb::IODebugContext* debug) override {
    std::unique_ptr<rocksdb::FSRandomAccessFile> file;
    auto status = FileSystemWrapper::NewRandomAccessFile(name, options, &file, debug);
    if (status.ok()) *result = std::make_unique<Reader>(std::move(file), *this);
    return status;
  }

  enum class Fault : std::uint8_t { none, no_space, io_error };
  std::atomic<Fault> writing{Fault::none};
  std::atomic<Fault> reading{Fault::none};

 private:
  static rocksdb::IOStatus status_of(Fault fault) {
    if (fault == Fault::no_space) return rocksdb::IOStatus::NoSpace("the test's disk is full");
    return fault == Fault::none ? rocksdb::IOStatus::OK() : rocksdb::IOStatus::IOError("the test's disk is broken");
  }

  class File final : public rocksdb::FSWritableFileOwnerWrapper {
   public:
    File(std::unique_ptr<rocksdb::FSWritableFile> file, FailingFiles& files)
        : FSWritableFileOwnerWrapper(std::move(file)), files_(files) {}
    rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* debug) override {
      const Fault fault = files_.writing;
      return fault == Fault::none ? FSWritableFileOwnerWrapper::Append(data, options, debug) : status_of(fault);
    }
    rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                             const rocksdb::DataVerificationInfo&, rocksdb::IODebugContext* debug) override {
      return Append(data, options, debug);
    }

   private:
    FailingFiles& files_;
  };

  class Reader final : public rocksdb::FSRandomAccessFileOwnerWrapper {
   public:
    Reader(std::unique_ptr<rocksdb::FSRandomAccessFile> file, FailingFiles& files)
        : FSRandomAccessFileOwnerWrapper(std::move(file)), files_(files) {}
    rocksdb::IOStatus Read(std::uint64_t offset, std::size_t size, const rocksdb::IOOptions& options,
                           rocksdb::Slice* result, char* scratch, rocksdb::IODebugContext* debug) const override {
      const Fault fault = files_.reading;
      if (fault != Fault::none) return status_of(fault);
      return FSRandomAccessFileOwnerWrapper::Read(offset, size, options, result, scratch, debug);
    }

   private:
    FailingFiles& files_;
  };
};

/// A copy of a folder that a test may damage.
class Copy {
 public:
  explicit Copy(const std::string& original) { fs::copy(original, path(), fs::copy_options::recursive); }
  [[nodiscard]] std::string path() const { return folder_.path() + "/copy"; }

 private:
  TemporaryFolder folder_;
};

std::vector<fs::path> files_in(const std::string& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

constexpr std::uint64_t kStored = 300;

void fill(const DiskWorld& world, const std::string& folder) {
  const auto tier = world.open(disk_options(folder));
  for (std::uint64_t i = 0; i < kStored; ++i) store(*tier, disk_entry(i, 400 + 20 * (i % 50)));
}

/// Opens a damaged folder. How many answers are still there; none may be wrong.
std::uint64_t sound_answers(const DiskWorld& world, const std::string& folder) {
  const auto tier = disk::DiskTier::open(disk_options(folder), world.surroundings());
  if (!tier) FAIL(tier.error().text());
  std::uint64_t sound = 0;
  std::uint64_t wrong = 0;
  for (std::uint64_t i = 0; i < kStored; ++i) {
    const auto found = look_up(**tier, i);
    if (!found) continue;
    version_in(i, *found) == 0 ? ++sound : ++wrong;
  }
  CHECK(wrong == 0);
  // And it works on.
  store(**tier, disk_entry(kStored + 1));
  CHECK(look_up(**tier, kStored + 1));
  return sound;
}

}  // namespace

TEST_CASE("disk faults: files cut anywhere, every answer is right or a miss and opening never fails") {
  const TemporaryFolder folder;
  const DiskWorld world;
  fill(world, folder.path());
  CHECK(sound_answers(world, Copy(folder.path()).path()) == kStored);
  int opened = 0;
  for (const fs::path& file : files_in(folder.path())) {
    const auto name = fs::relative(file, folder.path());
    const std::uintmax_t size = fs::file_size(file);
    for (int part = 0; part < 8; ++part) {
      const Copy copy(folder.path());
      const std::uintmax_t cut =
          part < 7 ? size * static_cast<unsigned>(part) / 7 : size - std::min<std::uintmax_t>(size, 1);
      fs::resize_file(fs::path(copy.path()) / name, cut);
      CAPTURE(name.string());
      CAPTURE(cut);
      (void)sound_answers(world, copy.path());
      ++opened;
    }
    const Copy copy(folder.path());
    fs::remove(fs::path(copy.path()) / name);
    (void)sound_answers(world, copy.path());
  }
  CHECK(opened >= 40);
}

TEST_CASE("disk faults: flipped bits in any file, every answer is right or a miss and opening never fails") {
  const TemporaryFolder folder;
  const DiskWorld world;
  fill(world, folder.path());
  std::mt19937_64 random(11);
  std::uint64_t lost = 0;
  for (const fs::path& file : files_in(folder.path())) {
    const auto name = fs::relative(file, folder.path());
    const std::uintmax_t size = fs::file_size(file);
    if (size == 0) continue;
    const int flips = file.extension() == ".sst" ? 24 : 6;
    for (int flip = 0; flip < flips; ++flip) {
      const Copy copy(folder.path());
      const auto at = static_cast<std::streamoff>(random() % size);
      {
        std::fstream bytes(fs::path(copy.path()) / name, std::ios::in | std::ios::out | std::ios::binary);
        bytes.seekg(at);
        const int value = bytes.get();
        bytes.seekp(at);
        bytes.put(static_cast<char>(value ^ (1 << random() % 8)));
      }
      CAPTURE(name.string());
      CAPTURE(at);
      lost += kStored - sound_answers(world, copy.path());
    }
  }
  CHECK(lost > 0);
}

TEST_CASE("disk faults: a damaged block is a miss that is counted, not an error") {
  const TemporaryFolder folder;
  const DiskWorld world;
  fill(world, folder.path());
  for (const fs::path& file : files_in(folder.path())) {
    if (file.extension() != ".sst") continue;
    std::fstream bytes(file, std::ios::in | std::ios::out | std::ios::binary);
    bytes.seekp(500);
    bytes.write("damage", 6);
  }
  const auto tier = world.open(disk_options(folder.path()));
  std::uint64_t missing = 0;
  for (std::uint64_t i = 0; i < kStored; ++i) missing += look_up(*tier, i) ? 0 : 1;
  CHECK(missing > 0);
  CHECK(missing < kStored);
  CHECK(tier->stats().corrupt == missing);
  CHECK(tier->stats().resets == 0);
}

TEST_CASE("disk faults: a store of another format is emptied and the reset counted") {
  const TemporaryFolder folder;
  const DiskWorld world;
  fill(world, folder.path());
  std::ofstream(folder.path() + "/format") << "tidegate disk cache, format 1\n";
  {
    const auto tier = world.open(disk_options(folder.path()));
    CHECK(tier->stats().resets == 1);
    for (std::uint64_t i = 0; i < kStored; ++i) CHECK_FALSE(look_up(*tier, i));
    store(*tier, disk_entry(1));
  }
  const auto tier = world.open(disk_options(folder.path()));
  CHECK(tier->stats().resets == 0);
  CHECK(look_up(*tier, 1));
}

TEST_CASE("disk faults: a folder with other files in it is refused and left alone") {
  const TemporaryFolder folder;
  const DiskWorld world;
  std::ofstream(folder.path() + "/thesis.txt") << "years of work";
  auto options = disk_options(folder.path());
  options.trouble = DiskTrouble::try_again;
  const auto tier = disk::DiskTier::open(options, world.surroundings());
  REQUIRE_FALSE(tier);
  CHECK(tier.error().code() == ErrorCode::invalid_argument);
  CHECK(tier.error().message().find("thesis.txt") != std::string_view::npos);
  CHECK(files_in(folder.path()).size() == 1);
}

TEST_CASE("disk faults: a folder that is taken is an error, or a tier that misses until it is free") {
  const TemporaryFolder folder;
  const DiskWorld world;
  auto first = world.open(disk_options(folder.path()));
  store(*first, disk_entry(1));
  auto options = disk_options(folder.path());
  const auto refused = disk::DiskTier::open(options, world.surroundings());
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::busy);
  CHECK(refused.error().message().find(folder.path()) != std::string_view::npos);

  options.trouble = DiskTrouble::try_again;
  const auto second = world.open(options);
  const auto slots = [&](std::uint64_t number) {
    std::promise<std::size_t> told;
    const CacheKey key = key_of(number);
    second->get_many(std::span(&key, 1), kNoDeadline, [&told](const auto& entries) { told.set_value(entries.size()); });
    return told.get_future().get();
  };
  CHECK_FALSE(look_up(*second, 1));
  CHECK(slots(1) == 0);  // it could not find out, which is not the same as having none
  store(*second, disk_entry(2));
  CHECK_FALSE(look_up(*second, 2));
  CHECK(second->stats().failed == 1);
  CHECK(second->stats().troubled == 1);
  first.reset();
  world.pass(options.max_retry_pause);
  store(*second, disk_entry(3));
  CHECK(eventually([&] { return second->stats().troubled == 0; }));
  CHECK(look_up(*second, 1));
  CHECK(look_up(*second, 3));
  CHECK(slots(77) == 1);
}

TEST_CASE("disk faults: while writing fails, reading goes on, and storing comes back after a pause") {
  for (const auto fault : {FailingFiles::Fault::no_space, FailingFiles::Fault::io_error}) {
    const TemporaryFolder folder;
    const DiskWorld world;
    const auto files = std::make_shared<FailingFiles>();
    const auto env = rocksdb::NewCompositeEnv(files);
    const auto options = disk_options(folder.path());
    {
      const auto tier = world.open(options, env.get());
      for (std::uint64_t i = 0; i < 100; ++i) store(*tier, disk_entry(i, 1536, 0, std::chrono::hours(87'600)));
    }
    {
      const auto tier = world.open(options, env.get());
      files->writing = fault;
      for (std::uint64_t i = 1000; i < 1400; ++i) store(*tier, disk_entry(i));
      REQUIRE(eventually([&] { return tier->stats().troubled == 1; }));
      const auto failed = tier->stats().failed;
      store(*tier, disk_entry(2000));
      CHECK(tier->stats().failed >= failed + 1);  // the rest of the batch may be counted only now
      CHECK_FALSE(look_up(*tier, 2000));
      for (int round = 0; round < 4; ++round) {
        world.pass(options.max_retry_pause);
        store(*tier, disk_entry(2001));
        REQUIRE(eventually([&] { return tier->stats().failed >= failed + 2 + static_cast<std::uint64_t>(round); }));
        for (std::uint64_t i = 0; i < 100; ++i) {
          const auto found = look_up(*tier, i);
          REQUIRE(found);
          CHECK(version_in(i, *found) == 0);
        }
      }
      files->writing = FailingFiles::Fault::none;
      CHECK(eventually([&] {
        world.pass(options.max_retry_pause);
        store(*tier, disk_entry(3000));
        return tier->stats().troubled == 0;
      }));
      store(*tier, disk_entry(3001));
    }
    const auto tier = world.open(options);
    CHECK(look_up(*tier, 50));
    CHECK(look_up(*tier, 3001));
    CHECK(tier->stats().resets == 0);
  }
}

TEST_CASE("disk faults: what is forgotten while the disk refuses to write does not come back") {
  for (const auto fault : {FailingFiles::Fault::no_space, FailingFiles::Fault::io_error}) {
    const TemporaryFolder folder;
    const DiskWorld world;
    const auto files = std::make_shared<FailingFiles>();
    const auto env = rocksdb::NewCompositeEnv(files);
    fill(world, folder.path());
    {
      const auto tier = world.open(disk_options(folder.path()), env.get());
      files->writing = fault;
      for (std::uint64_t i = 1000; i < 1400; ++i) store(*tier, disk_entry(i));
      REQUIRE(eventually([&] { return tier->stats().troubled == 1; }));
      forget(*tier, 7);
      CHECK_FALSE(look_up(*tier, 7));
      CHECK(look_up(*tier, 8));
    }
    files->writing = FailingFiles::Fault::none;
    const auto tier = world.open(disk_options(folder.path()));
    CHECK_FALSE(look_up(*tier, 7));
    CHECK(tier->stats().resets <= 1);
  }
}

TEST_CASE(
    "disk faults: a durable entry that the disk refuses is a miss until it is taken, and empties a closing store") {
  for (const bool comes_back : {true, false}) {
    const TemporaryFolder folder;
    const DiskWorld world;
    const auto files = std::make_shared<FailingFiles>();
    const auto env = rocksdb::NewCompositeEnv(files);
    fill(world, folder.path());
    {
      auto options = disk_options(folder.path());
      options.flush_interval = Duration::zero();
      const auto tier = world.open(options, env.get());
      files->writing = FailingFiles::Fault::no_space;
      CacheEntry table = disk_entry(5000);
      table.write = CacheWrite::durable;
      store(*tier, table);
      CHECK_FALSE(look_up(*tier, 5000));
      CHECK(look_up(*tier, 8));
      if (comes_back) {
        files->writing = FailingFiles::Fault::none;
        CHECK(eventually([&] {
          world.clock->advance(options.max_retry_pause);
          store(*tier, disk_entry(5001));
          return look_up(*tier, 5000).has_value();
        }));
        const Copy killed(folder.path());
        CHECK(look_up(*world.open(disk_options(killed.path())), 5000));
      }
    }
    files->writing = FailingFiles::Fault::none;
    const auto tier = world.open(disk_options(folder.path()));
    CHECK(look_up(*tier, 5000).has_value() == comes_back);
    CHECK(look_up(*tier, 8).has_value() == comes_back);
  }
}

TEST_CASE("disk faults: what was forgotten is forgotten in what a kill would leave") {
  const TemporaryFolder folder;
  const DiskWorld world;
  fill(world, folder.path());
  const auto tier = world.open(disk_options(folder.path()));
  forget(*tier, 7);
  REQUIRE(eventually([&] { return fs::file_size(folder.path() + "/forgotten") > 0; }));
  const Copy killed(folder.path());
  const auto after = world.open(disk_options(killed.path()));
  CHECK_FALSE(look_up(*after, 7));
  CHECK(look_up(*after, 8));
  CHECK(after->stats().resets == 0);
}

TEST_CASE("disk faults: a read that the disk refuses is a miss that is counted") {
  const TemporaryFolder folder;
  const DiskWorld world;
  const auto files = std::make_shared<FailingFiles>();
  const auto env = rocksdb::NewCompositeEnv(files);
  fill(world, folder.path());
  const auto tier = world.open(disk_options(folder.path()), env.get());
  files->reading = FailingFiles::Fault::io_error;
  CHECK_FALSE(look_up(*tier, 1));
  CHECK(tier->stats().failed == 1);
  files->reading = FailingFiles::Fault::none;
  CHECK(look_up(*tier, 1));
}

TEST_CASE("disk faults: a real disk that is full") {
  const TemporaryFolder folder;
  const std::string mounted = folder.path() + "/disk";
  fs::create_directory(mounted);
  if (::mount("tmpfs", mounted.c_str(), "tmpfs", 0, "size=6m") != 0) {
    MESSAGE("skipped: this user may not mount a small file system");
    return;
  }
  {
    const DiskWorld world;
    const auto options = disk_options(mounted + "/cache", 64 << 20);
    {
      const auto tier = world.open(options);
      std::uint64_t number = 0;
      // On its own: a rush of others may push it out of the queue before it is written.
      store(*tier, disk_entry(number++));
      REQUIRE(eventually([&] { return tier->stats().entries > 0; }));
      CHECK(eventually([&] {
        store(*tier, disk_entry(number++));
        return tier->stats().troubled == 1;
      }));
      CHECK(look_up(*tier, 0));
      CHECK(version_in(0, *look_up(*tier, 0)) == 0);
      for (std::uint64_t i = 0; i < 20; ++i) {
        world.pass(options.max_retry_pause);
        store(*tier, disk_entry(number++));
      }
      std::uint64_t wrong = 0;
      for (std::uint64_t i = 0; i < number; ++i) {
        const auto found = look_up(*tier, i);
        wrong += found && version_in(i, *found) != 0 ? 1 : 0;
      }
      CHECK(wrong == 0);
    }
    const auto tier = disk::DiskTier::open(options, world.surroundings());
    if (!tier) CHECK(tier.error().code() == ErrorCode::io_error);
    if (tier) CHECK((!look_up(**tier, 0) || version_in(0, *look_up(**tier, 0)) == 0));
  }
  CHECK(::umount2(mounted.c_str(), MNT_DETACH) == 0);
}
