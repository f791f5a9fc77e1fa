#include "runner/encoder/model_folder.hpp"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "base/sha256.hpp"
#include "base/try.hpp"
#include "base/wall_time.hpp"

namespace tidegate {
namespace {

constexpr std::size_t kMaxConfigBytes = std::size_t{16} << 20;
constexpr std::int64_t kSettlingMs = 50;                               // several ticks of any file system's clock
constexpr std::string_view kDigestLabel = "tidegate encoder model 1";  // changes with the encoding below

}  // namespace

Result<void> ModelFolder::check_exists() const {
  std::error_code ignored;
  if (std::filesystem::is_directory(path_, ignored)) return {};
  return Error(ErrorCode::not_found, "the folder does not exist");
}

bool ModelFolder::contains(const std::string& name) const {
  // A dangling link or an unreadable folder counts as present, so that opening it
  // fails aloud instead of the file's defaults applying.
  std::error_code ignored;
  return std::filesystem::symlink_status(full_path(name), ignored).type() != std::filesystem::file_type::not_found;
}

Result<std::optional<JsonValue>> ModelFolder::read_json(const std::string& name) {
  if (!contains(name)) return std::optional<JsonValue>{};
  TIDEGATE_TRY(JsonValue value, read_required_json(name));
  return std::optional(std::move(value));
}

Result<JsonValue> ModelFolder::read_required_json(const std::string& name) {
  TIDEGATE_TRY(const std::string text, read_text_file(full_path(name), kMaxConfigBytes));
  remember(name, std::as_bytes(std::span(text)));
  return parse_json(text, name);
}

Result<MappedFile> ModelFolder::map(const std::string& name) {
  TIDEGATE_TRY(MappedFile file, MappedFile::open(full_path(name)));
  remember(name, file);
  return file;
}

Result<void> ModelFolder::include_in_digest(const std::string& name) {
  if (!contains(name)) return {};
  TIDEGATE_TRY(const MappedFile file, map(name));
  return {};
}

Digest ModelFolder::content_digest() const {
  Sha256 hash;
  hash.update_field(kDigestLabel);
  for (const auto& [name, facts] : read_) {
    hash.update_field(name).update_u64(facts.size).update(std::as_bytes(std::span(facts.digest)));
  }
  return hash.finish();
}

std::string ModelFolder::join(const std::string& folder, const std::string& name) {
  return folder.empty() ? name : folder + "/" + name;
}

bool ModelFolder::stays_inside(std::string_view name) noexcept {
  if (std::any_of(name.begin(), name.end(), [](char letter) { return letter >= 0 && letter < ' '; })) return false;
  while (true) {
    const std::size_t slash = name.find('/');
    const std::string_view part = name.substr(0, slash);
    if (part.empty() || part == "." || part == "..") return false;
    if (slash == std::string_view::npos) return true;
    name.remove_prefix(slash + 1);
  }
}

void ModelFolder::remember(const std::string& name, std::span<const std::byte> contents) {
  Sha256 hash;
  read_[name] = {contents.size(), hash.update(contents).finish()};
}

void ModelFolder::remember(const std::string& name, const MappedFile& file) {
  const std::int64_t now = unix_milliseconds();  // before the file is read: later changes get a later time
  const FileIdentity& identity = file.identity();
  const auto known = std::find_if(known_.begin(), known_.end(), [&](const KnownFile& entry) {
    return entry.name == name && entry.identity == identity;
  });
  if (known == known_.end()) {
    remember(name, file.bytes());
  } else {
    read_[name] = {identity.size, known->digest};
  }
  const std::int64_t changed_ms = std::max(identity.changed_ns, identity.modified_ns) / 1'000'000;
  if (known != known_.end() || changed_ms + kSettlingMs < now) {
    settled_.push_back({name, identity, read_[name].digest});
  }
}

}  // namespace tidegate
