#include "output.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>

namespace tidegate::program {
namespace {

constexpr auto kQuietFor = std::chrono::seconds(2);
constexpr auto kRedrawEvery = std::chrono::milliseconds(100);
constexpr std::size_t kWidth = 30;

}  // namespace

void print_json(const nlohmann::json& document) {
  fmt::print("{}\n", document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

ProgressBar::ProgressBar(std::string label, std::uint64_t total, std::string unit)
    : label_(std::move(label)),
      total_(total),
      unit_(std::move(unit)),
      terminal_(::isatty(STDERR_FILENO) == 1),
      started_(std::chrono::steady_clock::now()),
      drawn_(started_) {}

ProgressBar::~ProgressBar() {
  if (visible_) fmt::print(stderr, "\r\x1b[K");
}

void ProgressBar::update(std::uint64_t done) {
  if (!terminal_) return;
  const auto now = std::chrono::steady_clock::now();
  if (now - started_ < kQuietFor || (visible_ && now - drawn_ < kRedrawEvery)) return;
  drawn_ = now;
  visible_ = true;
  const double share = total_ == 0 ? 1.0 : static_cast<double>(done) / static_cast<double>(total_);
  const double seconds = std::chrono::duration<double>(now - started_).count();
  const double rate = static_cast<double>(done) / seconds;
  const double left = rate > 0 ? static_cast<double>(total_ - done) / rate : 0;
  const auto filled = std::min(kWidth, static_cast<std::size_t>(share * kWidth));
  fmt::print(stderr, "\r\x1b[K{} [{}{}] {:3.0f} %", label_, std::string(filled, '#'), std::string(kWidth - filled, '.'),
             100 * share);
  if (!unit_.empty()) fmt::print(stderr, "  {:.0f} {}/s", rate, unit_);
  fmt::print(stderr, "  {:.0f} s left", left);
  std::fflush(stderr);
}

}  // namespace tidegate::program
