// Packed files: what is stored comes back, and nothing damaged, stale or half written is used.
#include "runner/encoder/packed_file.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <thread>

#include "base/sha256.hpp"
#include "packing_fixture.hpp"
#include "runner/encoder/pack_loader.hpp"
#include "support/random_model.hpp"
#include "support/temporary_folder.hpp"

namespace tidegate {
namespace {

using test::MemoryModel;
using test::TemporaryFolder;

/// A model, its key and how often it was packed.
struct Case {
  explicit Case(std::uint32_t seed = 1) : source({.hidden = 12, .intermediate = 40, .layers = 2, .seed = seed}) {
    key.model = source.model.content_digest;
    key.settings.fill(7);
    source.model.known_files.push_back({"model.safetensors", {11, 12, 13, 14}, key.model});
  }

  Result<LoadedPack> load(const std::string& path) {
    return load_pack(path, source.model, key, [this]() -> Result<BuiltPack> {
      builds.fetch_add(1);
      PackingPlan plan = uniform_plan(2, Number::u8);
      plan.layers[0].set(LinearKind::output, Number::bf16);
      plan.layers[1].qkv_factors.assign(12, 1.5F);
      plan.words = DataType::f16;
      auto image = pack_model(source.model, plan);
      if (!image) return std::move(image).error();
      return BuiltPack{*std::move(image), R"({"mean":1})"};
    });
  }

  MemoryModel source;
  PackKey key;
  std::atomic<int> builds{0};
};

LoadedPack loaded(Result<LoadedPack> pack) {
  if (!pack) FAIL(pack.error().text());
  return *std::move(pack);
}

std::string weights_of(const LoadedPack& pack) {
  const auto image = pack.image();
  return {reinterpret_cast<const char*>(image.data()), image.size()};
}

bool mentions(const LoadedPack& pack, std::string_view words) {
  for (const std::string& note : pack.notes) {
    if (note.find(words) != std::string::npos) return true;
  }
  return false;
}

/// A file of these bytes at a new path is refused, packed anew with a note, and good then.
void check_rebuilt(Case& source, TemporaryFolder& folder, const std::string& bytes, const char* reason) {
  folder.write("pack", bytes);
  const std::string path = folder.path() + "/pack";
  const int before = source.builds;
  const LoadedPack pack = loaded(source.load(path));
  CHECK(source.builds == before + 1);
  CHECK(mentions(pack, reason));
  CHECK(PackedFile::open(path, source.source.model, source.key).has_value());
}

}  // namespace

TEST_CASE("packed file: a second load maps what the first has packed") {
  Case source;
  TemporaryFolder folder;
  const std::string path = folder.path() + "/pack";
  const LoadedPack first = loaded(source.load(path));
  CHECK(first.notes.empty());
  const LoadedPack second = loaded(source.load(path));
  CHECK(source.builds == 1);
  CHECK(second.notes.empty());
  CHECK(second.facts().report == R"({"mean":1})");
  CHECK(second.facts().plan == first.facts().plan);
  CHECK(second.facts().plan.layers[1].qkv_factors == std::vector<float>(12, 1.5F));
  CHECK(second.facts().plan.layers[0].number(LinearKind::output) == Number::bf16);
  const auto packed = pack_model(source.source.model, second.facts().plan);
  REQUIRE(packed);
  REQUIRE(second.image().size() == packed->bytes.size());
  CHECK(std::memcmp(second.image().data(), packed->bytes.data(), packed->bytes.size()) == 0);
  CHECK(second.facts().image_digest == Sha256().update(packed->bytes.span()).finish());
  CHECK(read_known_files(path) == source.source.model.known_files);
  CHECK_FALSE(std::filesystem::exists(path + ".tmp"));
}

TEST_CASE("packed file: a file cut short anywhere is packed anew") {
  Case source;
  TemporaryFolder folder;
  loaded(source.load(folder.path() + "/pack"));
  const std::string whole = folder.read("pack");
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, std::size_t{8}, std::size_t{103}, std::size_t{104}, std::size_t{4095},
        std::size_t{4096}, std::size_t{4097}, whole.size() / 2, whole.size() - 64, whole.size() - 1}) {
    CAPTURE(size);
    check_rebuilt(source, folder, whole.substr(0, size), "is damaged");
  }
  check_rebuilt(source, folder, whole + std::string(1, '\0'), "its size is not that of the model");
  check_rebuilt(source, folder, whole + std::string(64, '\0'), "its size is not that of the model");
}

TEST_CASE("packed file: any changed byte of the header and samples of the weights are found") {
  Case source;
  TemporaryFolder folder;
  const std::string path = folder.path() + "/pack";
  loaded(source.load(path));
  const std::string whole = folder.read("pack");
  std::size_t accepted = 0;
  const auto flip = [&](std::size_t at) {
    std::string bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ 0x10);
    folder.write("pack", bytes);
    if (PackedFile::open(path, source.source.model, source.key)) ++accepted;
  };
  for (std::size_t at = 0; at < 4096; ++at) flip(at);
  for (std::size_t at = 4096; at < whole.size(); at += 97) flip(at);
  flip(whole.size() - 1);
  CHECK(accepted == 0);
  folder.write("pack", whole);
  CHECK(PackedFile::open(path, source.source.model, source.key).has_value());
}

TEST_CASE("packed file: another model, other settings and another format are packed anew") {
  Case source;
  TemporaryFolder folder;
  loaded(source.load(folder.path() + "/pack"));
  const std::string whole = folder.read("pack");
  Case other(2);
  check_rebuilt(other, folder, whole, "another model");
  source.key.settings.fill(8);
  check_rebuilt(source, folder, whole, "other settings");
  source.key.settings.fill(7);
  std::string newer = whole;
  newer[8] = 9;
  check_rebuilt(source, folder, newer, "has format 9, expected 2");
}

TEST_CASE("packed file: a load without texts takes what any texts made, one with texts what the same made") {
  Case source;
  TemporaryFolder folder;
  const std::string path = folder.path() + "/pack";
  source.key.texts.fill(1);
  loaded(source.load(path));
  source.key.texts.fill(0);
  CHECK(loaded(source.load(path)).notes.empty());
  source.key.texts.fill(1);
  CHECK(loaded(source.load(path)).notes.empty());
  CHECK(source.builds == 1);
  source.key.texts.fill(2);
  CHECK(mentions(loaded(source.load(path)), "other calibration texts"));
  CHECK(source.builds == 2);
  source.key.texts.fill(1);
  CHECK(mentions(loaded(source.load(path)), "other calibration texts"));
  Case built_in;
  folder.write("pack", "");
  loaded(built_in.load(path));
  CHECK(mentions(loaded(source.load(path)), "other calibration texts"));
}

TEST_CASE("packed file: one whose plan does not fit the model is refused before it is laid out") {
  Case source;
  TemporaryFolder folder;
  const std::string path = folder.path() + "/pack";
  const LoadedPack pack = loaded(source.load(path));
  const std::string image = weights_of(pack);
  const auto bytes = std::as_bytes(std::span(image));
  PackFacts facts{pack.facts().plan, "{}", {}, {}};
  const auto refused = [&] {
    REQUIRE(write_packed_file(path, source.key, facts, bytes));
    return PackedFile::open(path, source.source.model, source.key).error().code();
  };
  facts.plan.layers.pop_back();
  CHECK(refused() == ErrorCode::invalid_argument);
  facts.plan = pack.facts().plan;
  facts.plan.layers[0].numbers[1] = static_cast<Number>(77);
  CHECK(refused() == ErrorCode::invalid_argument);
  facts.plan = pack.facts().plan;
  facts.plan.words = static_cast<DataType>(-5);
  CHECK(refused() == ErrorCode::invalid_argument);
  facts.plan = pack.facts().plan;
  facts.plan.layers[1].qkv_factors.clear();
  CHECK(refused() == ErrorCode::corrupt_data);
}

TEST_CASE("packed file: where none can be written the weights stay in memory and a note says so") {
  Case source;
  TemporaryFolder folder;
  folder.write("file", "no folder");
  for (const char* place : {"/missing/pack", "/file/pack"}) {
    CAPTURE(place);
    const LoadedPack pack = loaded(source.load(folder.path() + place));
    CHECK(mentions(pack, "were not stored"));
    CHECK(pack.facts().report == R"({"mean":1})");
    CHECK(pack.image().size() == image_size(source.source.model, pack.facts().plan));
  }
}

TEST_CASE("packed file: a full disk leaves neither a file nor an error") {
  Case source;
  TemporaryFolder folder;
  const std::string path = folder.path() + "/pack";
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
  for (const rlim_t room : {rlim_t{0}, rlim_t{4096}, rlim_t{9000}}) {
    CAPTURE(room);
    const rlimit small{room, before.rlim_max};
    REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
    auto pack = source.load(path);
    REQUIRE(setrlimit(RLIMIT_FSIZE, &before) == 0);
    REQUIRE(pack);
    CHECK(mentions(*pack, "were not stored"));
    CHECK_FALSE(std::filesystem::exists(path));
    CHECK_FALSE(std::filesystem::exists(path + ".tmp"));
  }
  CHECK(loaded(source.load(path)).notes.empty());
  CHECK(PackedFile::open(path, source.source.model, source.key).has_value());
}

TEST_CASE("packed file: what an interrupted writer left is overwritten") {
  Case source;
  TemporaryFolder folder;
  folder.write("pack.tmp", std::string(100000, 'x'));
  CHECK(loaded(source.load(folder.path() + "/pack")).notes.empty());
  CHECK_FALSE(std::filesystem::exists(folder.path() + "/pack.tmp"));
  CHECK(loaded(source.load(folder.path() + "/pack")).notes.empty());
}

TEST_CASE("packed file: threads that pack at once all get the same weights") {
  for (int round = 0; round < 20; ++round) {
    Case source;
    TemporaryFolder folder;
    const std::string path = folder.path() + "/pack";
    std::vector<std::string> weights(4);
    std::atomic<int> ready{0};
    std::vector<std::thread> threads;
    for (std::string& own : weights) {
      threads.emplace_back([&] {
        ready.fetch_add(1);
        while (ready.load() < 4) std::this_thread::yield();
        if (auto pack = source.load(path)) own = weights_of(*pack);
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK_FALSE(weights[0].empty());
    for (const std::string& own : weights) CHECK(own == weights[0]);
    CHECK(PackedFile::open(path, source.source.model, source.key).has_value());
    CHECK_FALSE(std::filesystem::exists(path + ".tmp"));
  }
}

TEST_CASE("packed file: a failed build is the load's error and writes nothing") {
  Case source;
  TemporaryFolder folder;
  const std::string path = folder.path() + "/pack";
  const auto pack = load_pack(path, source.source.model, source.key,
                              []() -> Result<BuiltPack> { return Error(ErrorCode::unsupported, "no"); });
  CHECK(pack.error().code() == ErrorCode::unsupported);
  CHECK_FALSE(std::filesystem::exists(path));
}

TEST_CASE("packed file: its path tells models in one folder apart") {
  TemporaryFolder folder;
  CHECK(packed_file_path("/models/a", "", "int8") == "/models/a/tidegate-int8.pack");
  const std::string first = packed_file_path(folder.path(), "/packs", "int8");
  CHECK(first == packed_file_path(folder.path() + "/.", "/packs", "int8"));
  CHECK(first != packed_file_path("/", "/packs", "int8"));
  CHECK(first != packed_file_path(folder.path(), "/packs", "bf16"));
  CHECK(first.starts_with("/packs/tidegate-"));
}

TEST_CASE("model folder: unchanged files keep their digest unread, changed ones do not") {
  const TemporaryFolder folder = test::write_random_model();
  const auto fresh = load_encoder_model(folder.path());
  REQUIRE(fresh);
  std::vector<KnownFile> known;
  const auto weights = MappedFile::open(folder.path() + "/model.safetensors");
  REQUIRE(weights);
  Digest forged{};
  forged.fill(42);
  known.push_back({"model.safetensors", weights->identity(), forged});
  const auto trusting = load_encoder_model(folder.path(), known);
  REQUIRE(trusting);
  CHECK(trusting->content_digest != fresh->content_digest);
  CHECK(trusting->known_files.size() >= 1);
  CHECK(trusting->known_files.front().digest == forged);
  for (std::uint64_t FileIdentity::*field : {&FileIdentity::inode, &FileIdentity::size}) {
    known[0].identity = weights->identity();
    known[0].identity.*field += 1;
    CHECK(load_encoder_model(folder.path(), known)->content_digest == fresh->content_digest);
  }
  for (std::int64_t FileIdentity::*field : {&FileIdentity::modified_ns, &FileIdentity::changed_ns}) {
    known[0].identity = weights->identity();
    known[0].identity.*field += 1;
    CHECK(load_encoder_model(folder.path(), known)->content_digest == fresh->content_digest);
  }
}

TEST_CASE("model folder: files are remembered once they have not changed for a while") {
  const TemporaryFolder folder = test::write_random_model();
  const auto remembered = [&] {
    const auto model = load_encoder_model(folder.path());
    REQUIRE(model);
    return std::any_of(model->known_files.begin(), model->known_files.end(),
                       [](const KnownFile& file) { return file.name == "model.safetensors"; });
  };
  const timespec future[2] = {{4000000000, 0}, {4000000000, 0}};
  REQUIRE(utimensat(AT_FDCWD, folder.file("model.safetensors").c_str(), future, 0) == 0);
  CHECK_FALSE(remembered());
  const timespec past[2] = {{1000000000, 0}, {1000000000, 0}};
  REQUIRE(utimensat(AT_FDCWD, folder.file("model.safetensors").c_str(), past, 0) == 0);
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!remembered() && std::chrono::steady_clock::now() < give_up) std::this_thread::yield();
  CHECK(remembered());
}

}  // namespace tidegate
