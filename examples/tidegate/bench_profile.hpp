// What `bench` shows of a text encoder's profile.
#pragma once

#include <nlohmann/json.hpp>

#include "tidegate/modules.hpp"

namespace tidegate::program {

void print_profile(const EncoderProfile& profile);

/// Rates in operations/s are given in GOPS (1e9 a second) of one thread. `peak_share` is
/// null where the peak of the precision was not measured.
[[nodiscard]] nlohmann::json profile_json(const EncoderProfile& profile);

}  // namespace tidegate::program
