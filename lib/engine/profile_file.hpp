// ProfileFile: a latency profile kept beside its model from one run to the next.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "queue/latency_memory.hpp"
#include "tidegate/calibration.hpp"

namespace tidegate {

/// What a profile holds for: another model, processor or number of threads is another speed.
struct ProfileKey {
  Digest fingerprint{};
  std::string processor;
  std::uint32_t threads = 1;
  BatchLayout layout = BatchLayout::packed;
};
/// As the system names it; "unknown" where it does not.
[[nodiscard]] std::string processor_name();
[[nodiscard]] ProfileKey profile_key(const ModelInfo& info);

/// "tidegate-profile-<digits>.json"; keys that differ have different names.
[[nodiscard]] std::string profile_name(const ProfileKey& key);

/// The text of a small file that belongs to a model; empty where there is none.
[[nodiscard]] std::string read_small_file(const std::string& path);

/// Where `name` is kept: in the folder of the options, else of the model; empty = nowhere, as without a
/// fingerprint nobody could say whose it is.
[[nodiscard]] std::string path_beside(const CalibrationOptions& options, const ModelInfo& info,
                                      const std::string& name);

/// JSON of version 1.
[[nodiscard]] std::string write_profile(const ProfileKey& key, const LatencyMemory& memory);

/// nullopt where the text is no whole profile of this version for this key.
[[nodiscard]] std::optional<LatencyMemory> read_profile(std::string_view text, const ProfileKey& key);

}  // namespace tidegate
