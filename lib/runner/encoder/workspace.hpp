// Workspace and Scratch: the memory of a forward pass, made once and kept.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "runner/encoder/aligned_buffer.hpp"
#include "runner/encoder/numbers.hpp"
#include "tidegate/error.hpp"
#include "tidegate/time.hpp"

namespace tidegate {

/// Rows of activations in one format, somewhere in a buffer.
struct Rows {
  Number number = Number::f32;
  std::byte* data = nullptr;
  std::size_t stride = 0;  ///< values
  RowScale* scales = nullptr;

  [[nodiscard]] Rows from(std::size_t row) const noexcept {
    return {number, data + row * stride * bytes_of(number), stride, scales + row};
  }
  [[nodiscard]] std::byte* at(std::size_t row, std::size_t column) const noexcept {
    return data + (row * stride + column) * bytes_of(number);
  }
};

/// One activation matrix in the formats that the layers want it in. Each format has
/// memory of its own, so that no format's padding holds another's values.
class RowBuffer {
 public:
  RowBuffer() = default;
  RowBuffer(std::size_t rows, std::size_t width) : rows_(rows), stride_(row_stride(width)), scales_(rows) {}

  /// Makes `rows(number)` valid.
  void allow(Number number) {
    auto& memory = memory_[static_cast<std::size_t>(number)];
    if (memory.size() == 0) memory = AlignedArray<std::byte>(rows_ * stride_ * bytes_of(number));
  }
  [[nodiscard]] Rows rows(Number number) noexcept {
    return {number, memory_[static_cast<std::size_t>(number)].data(), stride_, scales_.data()};
  }

 private:
  std::size_t rows_ = 0;
  std::size_t stride_ = 0;
  std::array<AlignedArray<std::byte>, kNumbers> memory_;
  AlignedArray<RowScale> scales_;
};

/// Where the time of a forward pass goes.
enum class Phase : std::uint8_t { products, attention, epilogues, other };
inline constexpr std::size_t kPhases = 4;
struct PhaseTimes {
  const Clock* clock = nullptr;  ///< set by whoever measures
  std::array<Duration, kPhases> spent{};

  [[nodiscard]] Duration& of(Phase phase) noexcept { return spent[static_cast<std::size_t>(phase)]; }
};

/// Adds the time of a scope to a phase; reads no clock where nobody asks.
class PhaseWatch {
 public:
  PhaseWatch(PhaseTimes* times, Phase phase) noexcept : times_(times), phase_(phase) {
    if (times_ != nullptr) begin_ = times_->clock->now();
  }
  ~PhaseWatch() {
    if (times_ != nullptr) times_->of(phase_) += times_->clock->now() - begin_;
  }
  PhaseWatch(const PhaseWatch&) = delete;
  PhaseWatch& operator=(const PhaseWatch&) = delete;

 private:
  PhaseTimes* times_;
  Phase phase_;
  TimePoint begin_;
};

/// Buffers of one group of sequences, shared by the threads that work on it.
struct Workspace {
  std::size_t tokens = 0;  ///< of a group at most; 0 = not made yet
  AlignedBuffer hidden;    ///< [tokens, hidden]: the residual stream
  RowBuffer narrow;        ///< [tokens, hidden]: `hidden` as the next product wants it
  RowBuffer qkv;           ///< [tokens, 3 hidden]
  RowBuffer context;       ///< [tokens, hidden]
  RowBuffer wide;          ///< [kPanelRows, intermediate]
  AlignedBuffer sums;      ///< [kPanelRows, hidden]: of a product that a LayerNorm follows
  AlignedBuffer pooled;    ///< [tokens, widest stage]: one row a text
  AlignedBuffer staged;    ///< as `pooled`: a dense stage's sums
};

/// Buffers of one thread.
struct Scratch {
  AlignedBuffer sums;              ///< [kPanelRows, widest chunk of columns]
  AlignedBuffer attention;         ///< scratch of the attention kernel
  AlignedArray<std::byte> onednn;  ///< scratch of oneDNN's products
  std::optional<Error> failure;    ///< what this thread failed at in a pass; everybody's work is void then
  PhaseTimes* times = nullptr;     ///< null: not measured
};

}  // namespace tidegate
