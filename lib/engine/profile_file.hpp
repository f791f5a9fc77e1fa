// ProfileFile: a latency profile kept beside its model from one run to the next.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "queue/latency_memory.hpp"
#include "tidegate/runner.hpp"

namespace tidegate {

/// What a profile holds for: another model, processor or number of threads is another speed.
struct ProfileKey {
  Digest fingerprint{};
  std::string processor;
  std::uint32_t threads = 1;
  BatchLayout layout = BatchLayout::packed;
};
[[nodiscard]] ProfileKey profile_key(const ModelInfo& info);

/// "tidegate-profile-<digits>.json"; keys that differ have different names.
[[nodiscard]] std::string profile_name(const ProfileKey& key);

/// JSON of version 1.
[[nodiscard]] std::string write_profile(const ProfileKey& key, const LatencyMemory& memory);

/// nullopt where the text is no whole profile of this version for this key.
[[nodiscard]] std::optional<LatencyMemory> read_profile(std::string_view text, const ProfileKey& key);

}  // namespace tidegate
