// Hit ratios on recorded traces: S3-FIFO beside LRU, the best published figure and the optimum. The exit
// status is 1 where S3-FIFO is more than half a point below LRU, or any policy above the optimum.
#include <fmt/core.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tidegate/simulator.hpp"

namespace {

using tidegate::CachePolicy;
using tidegate::CacheReplay;
using tidegate::Error;
using tidegate::Result;

constexpr double kAllowedLoss = 0.5;  // points below LRU
constexpr std::uint64_t kMiB = 1ULL << 20;
constexpr double kCloudPhysicsRequests = 113872;

struct Published {
  double percent = 0;  ///< 0 = nobody has published one
  std::string_view policy{};
};

struct Row {
  std::string_view trace;
  std::string_view file;
  std::uint64_t capacity;
  Published best{};
};

constexpr double hits_of(double misses) { return 100 * (1 - misses / kCloudPhysicsRequests); }

/// cloudPhysicsIO: libCacheSim, test/test_evictionAlgo.c. OLTP and GLI: Caffeine's simulator.
constexpr std::array kRows{
    Row{"cloudPhysicsIO", "cloudPhysicsIO.oracleGeneral.bin", 128 * kMiB, {hits_of(88746), "QDLP-FIFO"}},
    Row{"cloudPhysicsIO", "cloudPhysicsIO.oracleGeneral.bin", 256 * kMiB, {hits_of(79237), "LIRS"}},
    Row{"cloudPhysicsIO", "cloudPhysicsIO.oracleGeneral.bin", 384 * kMiB, {hits_of(73143), "LIRS"}},
    Row{"cloudPhysicsIO", "cloudPhysicsIO.oracleGeneral.bin", 512 * kMiB, {hits_of(70363), "LIRS"}},
    Row{"cloudPhysicsIO", "cloudPhysicsIO.oracleGeneral.bin", 640 * kMiB, {hits_of(67380), "QDLP-FIFO"}},
    Row{"cloudPhysicsIO", "cloudPhysicsIO.oracleGeneral.bin", 768 * kMiB, {hits_of(64180), "GDSF"}},
    Row{"cloudPhysicsIO", "cloudPhysicsIO.oracleGeneral.bin", 896 * kMiB, {hits_of(58640), "LIRS"}},
    Row{"cloudPhysicsIO", "cloudPhysicsIO.oracleGeneral.bin", 1024 * kMiB, {hits_of(53924), "LIRS"}},
    Row{"OLTP", "oltp.keys", 250, {22.76, "W-TinyLFU"}},
    Row{"OLTP", "oltp.keys", 1000, {39.06, "ARC"}},
    Row{"OLTP", "oltp.keys", 2000, {46.17, "ARC"}},
    Row{"OLTP", "oltp.keys", 15000},
    Row{"P3", "p3.keys", 50000},
    Row{"GLI", "gli.keys", 1000, {50.96, "TinyLFU"}},
    Row{"loop", "loop.keys", 500},
    Row{"Corda", "corda.keys", 1000},
    Row{"Scarab", "scarab.keys", 10000},
    Row{"Scarab", "scarab.keys", 50000},
};

struct Measured {
  const Row* row = nullptr;
  CacheReplay s3_fifo, lru, w_tiny_lfu, optimum;

  [[nodiscard]] static double percent(const CacheReplay& replay) { return 100 * replay.hit_ratio(); }
  /// Where answers have sizes the optimum is none.
  [[nodiscard]] bool is_bounded() const { return !row->file.ends_with(".bin"); }
  [[nodiscard]] bool is_good() const {
    const double best = std::max({percent(s3_fifo), percent(lru), percent(w_tiny_lfu)});
    return percent(s3_fifo) >= percent(lru) - kAllowedLoss && (!is_bounded() || best <= percent(optimum));
  }
};

Result<Measured> measure(const Row& row, const std::string& path) {
  Measured measured{&row, {}, {}, {}, {}};
  const auto replay = [&](CachePolicy policy, CacheReplay& where) -> Result<void> {
    auto report = tidegate::replay_cache_trace(path, {tidegate::CacheTraceFormat::automatic, policy, row.capacity});
    if (!report) return std::move(report).error();
    where = *report;
    return {};
  };
  if (auto done = replay(CachePolicy::s3_fifo, measured.s3_fifo); !done) return std::move(done).error();
  if (auto done = replay(CachePolicy::lru, measured.lru); !done) return std::move(done).error();
  if (auto done = replay(CachePolicy::w_tiny_lfu, measured.w_tiny_lfu); !done) return std::move(done).error();
  auto optimum = tidegate::replay_cache_optimum(path, tidegate::CacheTraceFormat::automatic, row.capacity);
  if (!optimum) return std::move(optimum).error();
  measured.optimum = *optimum;
  return measured;
}

std::string size_of(const Row& row) {
  return row.capacity >= kMiB ? fmt::format("{} MiB", row.capacity / kMiB) : fmt::format("{}", row.capacity);
}

void print_table(const std::vector<Measured>& all) {
  fmt::print(
      "| Trace | Capacity | S3-FIFO | LRU | S3-FIFO over LRU, points | W-TinyLFU | Best published | Optimum |\n");
  fmt::print("|---|---|---|---|---|---|---|---|\n");
  for (const Measured& one : all) {
    const Published& best = one.row->best;
    fmt::print("| {} | {} | {:.2f} | {:.2f} | {:+.2f} | {:.2f} | {} | {:.2f} |\n", one.row->trace, size_of(*one.row),
               Measured::percent(one.s3_fifo), Measured::percent(one.lru),
               Measured::percent(one.s3_fifo) - Measured::percent(one.lru), Measured::percent(one.w_tiny_lfu),
               best.percent > 0 ? fmt::format("{:.2f} ({})", best.percent, best.policy) : std::string("-"),
               Measured::percent(one.optimum));
  }
}

void print_json(const std::vector<Measured>& all, const std::vector<std::string>& missing) {
  nlohmann::json rows = nlohmann::json::array();
  for (const Measured& one : all) {
    nlohmann::json row{{"trace", one.row->trace},
                       {"capacity", one.row->capacity},
                       {"requests", one.lru.requests},
                       {"s3_fifo_percent", Measured::percent(one.s3_fifo)},
                       {"lru_percent", Measured::percent(one.lru)},
                       {"w_tiny_lfu_percent", Measured::percent(one.w_tiny_lfu)},
                       {"optimum_percent", Measured::percent(one.optimum)},
                       {"good", one.is_good()}};
    if (one.row->best.percent > 0) {
      row["published_percent"] = one.row->best.percent;
      row["published_policy"] = one.row->best.policy;
    }
    rows.push_back(std::move(row));
  }
  fmt::print("{}\n", nlohmann::json{{"rows", std::move(rows)}, {"missing", missing}}.dump(2));
}

}  // namespace

int main(int count, char** arguments) {
  CLI::App app("Hit ratios of the eviction policies on recorded traces");
  std::string folder = ".cache/traces";
  bool json = false;
  app.add_option("--traces", folder,
                 "Folder with cloudPhysicsIO.oracleGeneral.bin and the key files of "
                 "scripts/convert_traces.sh; what is not there is left out")
      ->capture_default_str();
  app.add_flag("--json", json, "Print one JSON object");
  CLI11_PARSE(app, count, arguments);
  std::vector<Measured> all;
  std::vector<std::string> missing;
  bool good = true;
  for (const Row& row : kRows) {
    const std::string path = folder + "/" + std::string(row.file);
    if (!std::filesystem::exists(path)) {
      if (missing.empty() || missing.back() != row.file) missing.emplace_back(row.file);
      continue;
    }
    auto measured = measure(row, path);
    if (!measured) {
      fmt::print(stderr, "{}: {}\n", path, measured.error().text());
      return 2;
    }
    good = good && measured->is_good();
    all.push_back(*std::move(measured));
  }
  for (const std::string& file : missing) fmt::print(stderr, "{}/{} is not there\n", folder, file);
  if (all.empty()) return 2;
  json ? print_json(all, missing) : print_table(all);
  return good ? 0 : 1;
}
