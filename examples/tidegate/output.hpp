// What a person sees: a progress line on a terminal; what a machine reads: JSON.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace tidegate::program {

/// Prints one JSON document on one line of standard output.
void print_json(const nlohmann::json& document);

/// A bar on standard error for work above two seconds, with rate and time left.
/// Silent where standard error is no terminal. Not thread-safe.
class ProgressBar {
 public:
  /// Without a `unit` no rate is shown.
  ProgressBar(std::string label, std::uint64_t total, std::string unit);
  /// Erases the bar.
  ~ProgressBar();

  void update(std::uint64_t done);

 private:
  const std::string label_;
  const std::uint64_t total_;
  const std::string unit_;
  const bool terminal_;
  const std::chrono::steady_clock::time_point started_;
  std::chrono::steady_clock::time_point drawn_;
  bool visible_ = false;
};

}  // namespace tidegate::program
