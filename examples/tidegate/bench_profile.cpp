#include "bench_profile.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <optional>

namespace tidegate::program {
namespace {

constexpr double kGiga = 1e9;

struct Part {
  const char* name;
  double share;         ///< of the time of all threads
  double us_per_token;  ///< summed over threads
};

std::array<Part, 5> parts_of(const EncoderProfile& profile) {
  const std::pair<const char*, Duration> times[] = {{"tokenize", profile.tokenize},
                                                    {"products", profile.products},
                                                    {"attention", profile.attention},
                                                    {"epilogues", profile.epilogues},
                                                    {"other", profile.other}};
  Duration sum{};
  for (const auto& [name, time] : times) sum += time;
  const double whole = static_cast<double>(std::max<std::int64_t>(1, sum.count()));
  const double tokens = static_cast<double>(std::max<std::uint64_t>(1, profile.tokens));
  std::array<Part, 5> parts{};
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto& [name, time] = times[i];
    const auto nanoseconds = static_cast<double>(time.count());
    parts[i] = {name, nanoseconds / whole, nanoseconds / 1e3 / tokens};
  }
  return parts;
}

/// Of the products, of the peak of their precision.
std::optional<double> peak_share(const EncoderProfile& profile) {
  double peak = 0;
  switch (precision_of(profile.precision).value_or(Precision::automatic)) {
    case Precision::f32: peak = profile.peak_f32; break;
    case Precision::bf16: peak = profile.peak_bf16; break;
    case Precision::int8: peak = profile.peak_int8; break;
    case Precision::automatic: break;
  }
  return peak > 0 ? std::optional(profile.product_rate / peak) : std::nullopt;
}

double per_second(std::uint64_t count, Duration time) {
  return static_cast<double>(count) / std::max(std::chrono::duration<double>(time).count(), 1e-9);
}

}  // namespace

void print_profile(const EncoderProfile& profile) {
  fmt::print("\nencoder alone, {} with {}, products by {}: {:.0f} texts/s, {:.0f} tokens/s\n", profile.precision,
             profile.isa, profile.products_by == "onednn" ? "oneDNN" : "its own kernels",
             per_second(profile.texts, profile.wall), per_second(profile.tokens, profile.wall));
  fmt::print("products     {:>8.1f} GOPS a thread", profile.product_rate / kGiga);
  if (const auto share = peak_share(profile)) fmt::print(", {:.0f} % of the {} peak", 100 * *share, profile.precision);
  fmt::print("\npeaks        {:>8.1f} GOPS f32, {:.1f} bf16, {:.1f} int8, one thread, measured just before\n",
             profile.peak_f32 / kGiga, profile.peak_bf16 / kGiga, profile.peak_int8 / kGiga);
  fmt::print("{:<12} {:>8} {:>10}\n", "time", "share %", "us/token");
  for (const Part& part : parts_of(profile)) {
    fmt::print("{:<12} {:>8.1f} {:>10.3f}\n", part.name, 100 * part.share, part.us_per_token);
  }
}

nlohmann::json profile_json(const EncoderProfile& profile) {
  nlohmann::json times = nlohmann::json::object();
  for (const Part& part : parts_of(profile)) {
    times[part.name] = {{"share", part.share}, {"us_per_token", part.us_per_token}};
  }
  const auto share = peak_share(profile);
  return {
      {"precision", profile.precision},
      {"isa", profile.isa},
      {"products_by", profile.products_by},
      {"texts", profile.texts},
      {"tokens", profile.tokens},
      {"seconds", std::chrono::duration<double>(profile.wall).count()},
      {"texts_per_second", per_second(profile.texts, profile.wall)},
      {"tokens_per_second", per_second(profile.tokens, profile.wall)},
      {"product_gops", profile.product_rate / kGiga},
      {"peak_share", share ? nlohmann::json(*share) : nlohmann::json(nullptr)},
      {"peak_gops",
       {{"f32", profile.peak_f32 / kGiga}, {"bf16", profile.peak_bf16 / kGiga}, {"int8", profile.peak_int8 / kGiga}}},
      {"time", times}};
}

}  // namespace tidegate::program
