#include "runner/encoder/packed_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <optional>
#include <system_error>

#include "base/crc32c.hpp"
#include "base/replace_file.hpp"
#include "base/sha256.hpp"
#include "base/try.hpp"

namespace tidegate {
namespace {

// A file is a header of whole pages and the image. All numbers are little-endian.
constexpr std::uint64_t kMagic = 0x4B43415045444954U;  // "TIDEPACK"
constexpr std::uint32_t kVersion = 2;                  // changes with this format and with the layout of images
constexpr std::size_t kPage = 4096;
constexpr std::size_t kMaxHeader = std::size_t{256} << 20;
constexpr std::size_t kMaxReport = std::size_t{1} << 20;

struct Preamble {
  std::uint64_t magic = kMagic;
  std::uint32_t version = kVersion;
  std::uint32_t header_crc = 0;  // of what follows this field, up to the image
  std::uint64_t header_size = 0;
  std::uint64_t image_size = 0;
  std::uint32_t image_crc = 0;
  std::uint32_t fields_size = 0;  // bytes after the preamble that are in use; zeros follow
  PackKey key;
};
static_assert(sizeof(Preamble) == 136 && std::endian::native == std::endian::little);
constexpr std::size_t kChecked = offsetof(Preamble, header_size);

class FieldWriter {
 public:
  template <class T>
  void put(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void put_text(std::string_view text) {
    put(static_cast<std::uint64_t>(text.size()));
    bytes_.append(text);
  }
  void put_floats(const std::vector<float>& values) {
    put(static_cast<std::uint64_t>(values.size()));
    bytes_.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  }
  [[nodiscard]] const std::string& bytes() const noexcept { return bytes_; }

 private:
  std::string bytes_;
};

/// Reads what FieldWriter wrote; nullopt beyond the end, before anything is allocated.
class FieldReader {
 public:
  explicit FieldReader(std::span<const std::byte> bytes) noexcept : left_(bytes) {}

  template <class T>
  std::optional<T> get() noexcept {
    static_assert(std::is_trivially_copyable_v<T>);
    if (left_.size() < sizeof(T)) return std::nullopt;
    T value;
    std::memcpy(&value, left_.data(), sizeof value);
    left_ = left_.subspan(sizeof value);
    return value;
  }
  /// A count of items of at least `size` bytes each that the rest can hold.
  std::optional<std::size_t> get_count(std::size_t size) noexcept {
    const auto count = get<std::uint64_t>();
    if (!count || *count > left_.size() / size) return std::nullopt;
    return static_cast<std::size_t>(*count);
  }
  std::optional<std::string> get_text() {
    const auto size = get_count(1);
    if (!size) return std::nullopt;
    std::string text(reinterpret_cast<const char*>(left_.data()), *size);
    left_ = left_.subspan(*size);
    return text;
  }
  std::optional<std::vector<float>> get_floats() {
    const auto count = get_count(sizeof(float));
    if (!count) return std::nullopt;
    std::vector<float> values(*count);
    if (*count > 0) std::memcpy(values.data(), left_.data(), *count * sizeof(float));
    left_ = left_.subspan(*count * sizeof(float));
    return values;
  }
  [[nodiscard]] bool at_end() const noexcept { return left_.empty(); }

 private:
  std::span<const std::byte> left_;
};

std::string write_fields(const PackFacts& facts) {
  FieldWriter out;
  out.put(static_cast<std::int32_t>(facts.plan.words ? static_cast<std::int32_t>(*facts.plan.words) : 0));
  out.put(static_cast<std::uint64_t>(facts.plan.layers.size()));
  for (const LayerPlan& layer : facts.plan.layers) {
    out.put(layer.numbers);
    out.put_floats(layer.qkv_factors);
    out.put_floats(layer.intermediate_factors);
  }
  out.put_text(facts.report);
  out.put(static_cast<std::uint64_t>(facts.known_files.size()));
  for (const KnownFile& file : facts.known_files) {
    out.put_text(file.name);
    out.put(file.identity);
    out.put(file.digest);
  }
  out.put(facts.image_digest);
  return out.bytes();
}

std::optional<PackingPlan> read_plan(FieldReader& in) {
  PackingPlan plan;
  const auto words = in.get<std::int32_t>();
  const auto layers = in.get_count(sizeof(LayerPlan::numbers));
  if (!words || !layers) return std::nullopt;
  if (*words != 0) plan.words = static_cast<DataType>(*words);
  for (std::size_t i = 0; i < *layers; ++i) {
    LayerPlan layer;
    const auto numbers = in.get<decltype(layer.numbers)>();
    auto qkv = in.get_floats();
    auto intermediate = in.get_floats();
    if (!numbers || !qkv || !intermediate) return std::nullopt;
    layer.numbers = *numbers;
    layer.qkv_factors = *std::move(qkv);
    layer.intermediate_factors = *std::move(intermediate);
    plan.layers.push_back(std::move(layer));
  }
  return plan;
}

std::optional<PackFacts> read_fields(std::span<const std::byte> bytes) {
  FieldReader in(bytes);
  PackFacts facts;
  auto plan = read_plan(in);
  if (!plan) return std::nullopt;
  facts.plan = *std::move(plan);
  auto report = in.get_text();
  const auto files = in.get_count(sizeof(FileIdentity) + sizeof(Digest));
  if (!report || report->size() > kMaxReport || !files) return std::nullopt;
  facts.report = *std::move(report);
  for (std::size_t i = 0; i < *files; ++i) {
    auto name = in.get_text();
    const auto identity = in.get<FileIdentity>();
    const auto digest = in.get<Digest>();
    if (!name || !identity || !digest) return std::nullopt;
    facts.known_files.push_back({*std::move(name), *identity, *digest});
  }
  const auto image_digest = in.get<Digest>();
  if (!image_digest || !in.at_end()) return std::nullopt;
  facts.image_digest = *image_digest;
  return facts;
}

struct Header {
  Preamble preamble;
  PackFacts facts;
};

Error damaged(const std::string& path, const char* what) {
  return Error(ErrorCode::corrupt_data, fmt::format("'{}' is damaged: {}", path, what));
}

Result<Header> read_header(std::span<const std::byte> file, const std::string& path) {
  Header header;
  Preamble& preamble = header.preamble;
  if (file.size() < kPage) return damaged(path, "it is shorter than a header");
  std::memcpy(&preamble, file.data(), sizeof preamble);
  if (preamble.magic != kMagic) return damaged(path, "it is no packed model");
  if (preamble.version != kVersion) {
    return Error(ErrorCode::version_mismatch,
                 fmt::format("'{}' has format {}, expected {}", path, preamble.version, kVersion));
  }
  const std::uint64_t size = preamble.header_size;
  if (size < kPage || size % kPage != 0 || size > kMaxHeader || size > file.size() ||
      preamble.fields_size > size - sizeof preamble) {
    return damaged(path, "the size of its header is wrong");
  }
  if (crc32c(file.subspan(kChecked, size - kChecked)) != preamble.header_crc) {
    return damaged(path, "the checksum of its header is wrong");
  }
  auto facts = read_fields(file.subspan(sizeof preamble, preamble.fields_size));
  if (!facts) return damaged(path, "its header ends too early");
  header.facts = *std::move(facts);
  return header;
}

}  // namespace

Result<PackedFile> PackedFile::open(const std::string& path, const EncoderModel& model, const PackKey& key) {
  TIDEGATE_TRY(MappedFile file, MappedFile::open(path));
  TIDEGATE_TRY(Header header, read_header(file.bytes(), path));
  const Preamble& preamble = header.preamble;
  if (preamble.key.model != key.model) {
    return Error(ErrorCode::version_mismatch, fmt::format("'{}' was made from another model", path));
  }
  if (preamble.key.settings != key.settings) {
    return Error(ErrorCode::version_mismatch, fmt::format("'{}' was made with other settings", path));
  }
  if (key.texts != Digest{} && preamble.key.texts != key.texts) {
    return Error(ErrorCode::version_mismatch, fmt::format("'{}' was made with other calibration texts", path));
  }
  TIDEGATE_CHECK(check_plan(model, header.facts.plan));
  const std::span<const std::byte> image = file.bytes().subspan(preamble.header_size);
  if (preamble.image_size != image.size() || image.size() != image_size(model, header.facts.plan)) {
    return damaged(path, "its size is not that of the model");
  }
  if (crc32c(image) != preamble.image_crc) return damaged(path, "the checksum of its weights is wrong");
  return PackedFile(std::move(file), std::move(header.facts), image);
}

std::vector<KnownFile> read_known_files(const std::string& path) {
  const auto file = MappedFile::open(path);
  if (!file) return {};
  auto header = read_header(file->bytes(), path);
  return header ? std::move(header->facts.known_files) : std::vector<KnownFile>();
}

Result<void> write_packed_file(const std::string& path, const PackKey& key, const PackFacts& facts,
                               std::span<const std::byte> image) {
  const std::string fields = write_fields(facts);
  Preamble preamble;
  preamble.header_size = round_up(sizeof preamble + fields.size(), kPage);
  preamble.image_size = image.size();
  preamble.image_crc = crc32c(image);
  preamble.fields_size = static_cast<std::uint32_t>(fields.size());
  preamble.key = key;
  if (preamble.header_size > kMaxHeader || facts.report.size() > kMaxReport) {
    return Error(ErrorCode::too_large, fmt::format("'{}' cannot hold so large a plan or report", path));
  }
  std::vector<std::byte> header(preamble.header_size);
  std::memcpy(header.data() + sizeof preamble, fields.data(), fields.size());
  std::memcpy(header.data(), &preamble, sizeof preamble);
  preamble.header_crc = crc32c(std::span<const std::byte>(header).subspan(kChecked));
  std::memcpy(header.data(), &preamble, sizeof preamble);
  const std::span<const std::byte> parts[] = {header, image};
  return replace_file(path, parts);
}

std::string packed_file_path(const std::string& folder, const std::string& pack_folder, std::string_view name) {
  if (pack_folder.empty()) return fmt::format("{}/tidegate-{}.pack", folder, name);
  std::error_code failed;
  const auto whole = std::filesystem::canonical(folder, failed);
  const std::string digest = to_hex(Sha256().update(failed ? folder : whole.string()).finish());
  return fmt::format("{}/tidegate-{}-{}.pack", pack_folder, std::string_view(digest).substr(0, 16), name);
}

}  // namespace tidegate
