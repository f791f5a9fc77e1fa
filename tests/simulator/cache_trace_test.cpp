// Recorded cache traces: how they are read, and what the policies make of them.
#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

#include "support/temporary_folder.hpp"
#include "tidegate/simulator.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

constexpr std::uint64_t kMiB = 1ULL << 20;

class TraceFile {
 public:
  TraceFile(const std::string& name, const std::string& bytes) : path_(folder_.path() + "/" + name) {
    std::ofstream(path_, std::ios::binary) << bytes;
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  TemporaryFolder folder_;
  std::string path_;
};

std::string record(std::uint64_t key, std::uint32_t size) {
  std::string bytes(24, '\0');
  std::memcpy(bytes.data() + 4, &key, sizeof(key));
  std::memcpy(bytes.data() + 12, &size, sizeof(size));
  return bytes;
}

CacheReplay replay(const std::string& path, CachePolicy policy, std::uint64_t capacity,
                   CacheTraceFormat format = CacheTraceFormat::automatic) {
  auto report = replay_cache_trace(path, {format, policy, capacity});
  REQUIRE_MESSAGE(report.has_value(), (report ? "" : report.error().text()));
  return *report;
}

ErrorCode refusal(const std::string& path, std::uint64_t capacity,
                  CacheTraceFormat format = CacheTraceFormat::automatic) {
  const auto report = replay_cache_trace(path, {format, CachePolicy::lru, capacity});
  REQUIRE_FALSE(report.has_value());
  return report.error().code();
}

/// Misses published for cloudPhysicsIO at 128 to 1024 MiB in steps of 128
/// (libCacheSim, test/test_evictionAlgo.c).
struct Published {
  CachePolicy policy;
  std::uint64_t misses[8];
};
constexpr Published kPublished[] = {
    {CachePolicy::s3_fifo, {89307, 82387, 77041, 76791, 71300, 70343, 70455, 70355}},
    {CachePolicy::lru, {93374, 89783, 83572, 81722, 72494, 72104, 71972, 71704}},
    {CachePolicy::lfu, {91699, 86720, 78578, 76707, 69945, 66221, 64445, 64376}},
    // First in, first out: all lives are equal.
    {CachePolicy::ttl_only, {93403, 89386, 84387, 84025, 72498, 72228, 72182, 72140}},
};

}  // namespace

TEST_CASE("cache trace: misses are those published for the cloudPhysicsIO trace") {
  const std::string path = TIDEGATE_TEST_TRACE_DIR "/cloudPhysicsIO.oracleGeneral.bin";
  if (!std::filesystem::exists(path)) {
    MESSAGE("no cloudPhysicsIO.oracleGeneral.bin under " TIDEGATE_TEST_TRACE_DIR ": published misses were not checked");
    return;
  }
  for (const Published& published : kPublished) {
    for (std::uint64_t step = 1; step <= 8; ++step) {
      CAPTURE(to_string(published.policy));
      CAPTURE(step);
      const CacheReplay report = replay(path, published.policy, step * 128 * kMiB);
      CHECK(report.requests == 113872);
      CHECK(report.keys == 48974);
      CHECK(report.misses == published.misses[step - 1]);
    }
  }
}

TEST_CASE("cache trace: a key a line, with blanks, comments and any line ends") {
  const TraceFile file("trace.txt", "# a trace\na\r\n\n  b\t\na\n* another remark\nc d\nc\nc d");
  const CacheReplay report = replay(file.path(), CachePolicy::lru, 100);
  CHECK(report.requests == 6);
  CHECK(report.keys == 4);
  CHECK(report.misses == 4);
  CHECK(report.hit_ratio() == doctest::Approx(1.0 / 3));
  const CacheReplay least = replay(file.path(), CachePolicy::lru, 1);
  CHECK(least.misses == 6);
  CHECK(least.evicted == 5);
}

TEST_CASE("cache trace: oracleGeneral records carry the weight of each answer") {
  std::string bytes;
  for (const std::uint64_t key : {1, 2, 3, 1}) bytes += record(key, 40);
  bytes += record(1ULL << 60, 101);
  bytes += record(1ULL << 60, 101);
  const TraceFile file("trace.bin", bytes);
  const CacheReplay roomy = replay(file.path(), CachePolicy::lru, 808);
  CHECK(roomy.keys == 4);
  CHECK(roomy.misses == 4);
  CHECK(roomy.rejected == 0);
  // 101 is above an eighth of 800.
  const CacheReplay tight = replay(file.path(), CachePolicy::lru, 800);
  CHECK(tight.misses == 5);
  CHECK(tight.rejected == 2);
}

TEST_CASE("cache trace: the same keys give the same misses in both formats") {
  std::mt19937_64 random(5);
  std::string text;
  std::string binary;
  for (int i = 0; i < 20000; ++i) {
    const std::uint64_t key = random() % (1 + random() % 2000);
    text += std::to_string(key) + "\n";
    binary += record(key, 1);
  }
  const TraceFile keys("keys", text);
  const TraceFile records("records", binary);
  for (const CachePolicy policy :
       {CachePolicy::s3_fifo, CachePolicy::lru, CachePolicy::lfu, CachePolicy::w_tiny_lfu, CachePolicy::ttl_only}) {
    const CacheReplay left = replay(keys.path(), policy, 200);
    const CacheReplay right = replay(records.path(), policy, 200, CacheTraceFormat::oracle_general);
    CHECK(left.misses == right.misses);
    CHECK(left.evicted == right.evicted);
    CHECK(left.misses > left.keys);
    CHECK(left.misses < left.requests);
    // With room for all, each key misses once.
    CHECK(replay(keys.path(), policy, 4000).misses == left.keys);
  }
}

TEST_CASE("cache trace: an empty file is no request and no hit") {
  const TraceFile file("empty.txt", "");
  const CacheReplay report = replay(file.path(), CachePolicy::s3_fifo, 10);
  CHECK(report.requests == 0);
  CHECK(report.hit_ratio() == 0.0);
}

TEST_CASE("cache trace: a missing file, one cut inside a record and a capacity of 0 are refused") {
  const TraceFile cut("cut.bin", record(1, 1) + "x");
  CHECK(refusal(cut.path(), 10) == ErrorCode::corrupt_data);
  CHECK(refusal(cut.path() + ".none", 10) == ErrorCode::not_found);
  CHECK(refusal(cut.path(), 0) == ErrorCode::invalid_argument);
}

TEST_CASE("cache trace: the optimum is Belady's, and no policy is above it") {
  // 2 places for a b c a b d a b: a, b, and of c and d nobody stays.
  const TraceFile small("t", "a\nb\nc\na\nb\nd\na\nb\n");
  const auto optimum = replay_cache_optimum(small.path(), CacheTraceFormat::keys, 2);
  REQUIRE(optimum);
  CHECK(optimum->requests == 8);
  CHECK(optimum->misses == 4);
  CHECK(optimum->rejected == 2);
  CHECK(optimum->keys == 4);
  CHECK(replay_cache_optimum(small.path(), CacheTraceFormat::keys, 0).error().code() == ErrorCode::invalid_argument);
  CHECK(replay_cache_optimum("absent", CacheTraceFormat::keys, 1).error().code() == ErrorCode::not_found);
  std::mt19937_64 random(4);
  std::string text;
  for (int i = 0; i < 20'000; ++i) text += std::to_string(std::min(random() % 300, random() % 3000)) + '\n';
  const TraceFile file("t", text);
  std::uint64_t before = 20'000;
  for (const std::uint64_t capacity : {1, 10, 100, 1000, 10'000}) {
    const auto best = replay_cache_optimum(file.path(), CacheTraceFormat::keys, capacity);
    REQUIRE(best);
    CHECK(best->misses <= before);
    before = best->misses;
    for (const CachePolicy policy :
         {CachePolicy::s3_fifo, CachePolicy::lru, CachePolicy::lfu, CachePolicy::w_tiny_lfu, CachePolicy::ttl_only}) {
      CHECK(replay(file.path(), policy, capacity).misses >= best->misses);
    }
  }
  CHECK(before == replay(file.path(), CachePolicy::lru, 10'000).keys);
}
