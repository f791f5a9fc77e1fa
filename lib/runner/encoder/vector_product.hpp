// Matrix products in registers over `DotF32`, `DotBf16` and `DotU8`, each of which adds
// a group of four bytes to sums.
#pragma once

#include <utility>

#include "runner/encoder/vector_math.hpp"

namespace tidegate {
namespace {

/// Bytes of one group of a strip.
constexpr std::size_t kStripStep = kStrip * 4;
constexpr std::size_t kRegBytes = kLanes * 4;
/// Registers of columns that a tile of one strip takes: half a strip on AVX2.
constexpr std::size_t kTileRegs = 2;

enum class Start : std::uint8_t { from_zero, from_target };

/// What a tile fetches: nothing; its own weights some bytes ahead; or its share of the
/// weights that come after those that several tiles pass over.
enum class Fetch : std::uint8_t { nothing, ahead, share };

/// Bytes ahead at which weights are fetched that are read once.
constexpr std::size_t kAhead = 2048;

/// Operands of one tile; strides in bytes.
struct Tile {
  const std::byte* x;
  std::size_t x_stride;
  const std::byte* weights;
  std::size_t strip_stride;  // from one strip to the next
  std::byte* sums;
  std::size_t sums_stride;
  std::size_t groups;
  Start start;
  const std::byte* share = nullptr;  // of Fetch::share: the first byte and bytes a group
  std::size_t share_step = 0;
};

template <class Sum>
[[gnu::always_inline]] inline Sum load_sum(const std::byte* p) {
  Sum sum;
  __builtin_memcpy(&sum, p, sizeof sum);
  return sum;
}

/// From a tile's first column to that of its register `c`.
constexpr std::size_t strip_of(std::size_t c) { return c * kRegBytes / kStripStep; }
constexpr std::size_t offset_of(std::size_t c) { return c * kRegBytes % kStripStep; }

/// Rows x (Regs * kLanes) outputs held in registers while the groups are walked. Each
/// output is one chain of sums in the order of the groups, so it is the same for every
/// shape of tile.
template <class Dot, std::size_t Rows, std::size_t Regs, Fetch fetch>
[[gnu::noinline]] void run_tile(const Tile& tile) {
  using Sum = typename Dot::Sum;
  // Copied: for all the compiler knows, the stores at the end change the tile.
  std::byte* const target = tile.sums;
  const std::size_t target_stride = tile.sums_stride;
  Sum sums[Rows][Regs];
#pragma GCC unroll 16
  for (std::size_t row = 0; row < Rows; ++row) {
#pragma GCC unroll 16
    for (std::size_t c = 0; c < Regs; ++c) {
      sums[row][c] =
          tile.start == Start::from_zero ? Sum{} : load_sum<Sum>(target + row * target_stride + c * kRegBytes);
    }
  }
  // Every fourth row has a pointer: the processor's addresses reach the three after it.
  const std::byte* x[(Rows + 3) / 4];
#pragma GCC unroll 4
  for (std::size_t i = 0; i < (Rows + 3) / 4; ++i) x[i] = tile.x + i * 4 * tile.x_stride;
  const std::size_t stride = tile.x_stride;
  const std::size_t strip_stride = tile.strip_stride;
  const std::byte* weights = tile.weights;
  const std::byte* const end = weights + tile.groups * kStripStep;
  const std::byte* share = tile.share;
  const std::size_t share_step = tile.share_step;
  for (; weights != end; weights += kStripStep) {
    if constexpr (fetch == Fetch::ahead) {
#pragma GCC unroll 16
      for (std::size_t c = 0; c < Regs; ++c) {
        if (c * kRegBytes % 64 == 0) __builtin_prefetch(weights + kAhead + strip_of(c) * strip_stride + offset_of(c));
      }
    } else if constexpr (fetch == Fetch::share) {
      __builtin_prefetch(share);
      share += share_step;
    }
    if constexpr (Regs <= kTileRegs) {
      typename Dot::Weights w[Regs];
#pragma GCC unroll 16
      for (std::size_t c = 0; c < Regs; ++c) w[c] = Dot::weights(weights + strip_of(c) * strip_stride + offset_of(c));
#pragma GCC unroll 16
      for (std::size_t row = 0; row < Rows; ++row) {
        const auto factor = Dot::factor(x[row / 4] + row % 4 * stride);
#pragma GCC unroll 16
        for (std::size_t c = 0; c < Regs; ++c) sums[row][c] = Dot::dot(sums[row][c], factor, w[c]);
      }
    } else {
      typename Dot::Factor factors[Rows];
#pragma GCC unroll 16
      for (std::size_t row = 0; row < Rows; ++row) factors[row] = Dot::factor(x[row / 4] + row % 4 * stride);
#pragma GCC unroll 16
      for (std::size_t c = 0; c < Regs; ++c) {
        const auto w = Dot::weights(weights + strip_of(c) * strip_stride + offset_of(c));
#pragma GCC unroll 16
        for (std::size_t row = 0; row < Rows; ++row) sums[row][c] = Dot::dot(sums[row][c], factors[row], w);
      }
    }
#pragma GCC unroll 4
    for (std::size_t i = 0; i < (Rows + 3) / 4; ++i) x[i] += 4;
  }
#pragma GCC unroll 16
  for (std::size_t row = 0; row < Rows; ++row) {
#pragma GCC unroll 16
    for (std::size_t c = 0; c < Regs; ++c) {
      __builtin_memcpy(target + row * target_stride + c * kRegBytes, &sums[row][c], sizeof(Sum));
    }
  }
}

using RunTile = void (*)(const Tile&);

template <class Dot, std::size_t Regs, Fetch fetch, std::size_t... I>
inline void run_indexed(std::size_t rows, const Tile& tile, std::index_sequence<I...>) {
  static constexpr RunTile kRuns[] = {run_tile<Dot, I + 1, Regs, fetch>...};
  kRuns[rows - 1](tile);
}

/// A tile of `rows` rows, 1..Rows.
template <class Dot, std::size_t Rows, std::size_t Regs, Fetch fetch>
inline void run_rows(std::size_t rows, const Tile& tile) {
  run_indexed<Dot, Regs, fetch>(rows, tile, std::make_index_sequence<Rows>());
}

/// How `rows` are shared out: tiles of `height` rows, the first `taller` of them one more.
struct Split {
  std::size_t tiles;
  std::size_t height;
  std::size_t taller;

  static Split of(std::size_t rows, std::size_t highest) {
    const std::size_t tiles = (rows + highest - 1) / highest;
    return {tiles, tiles == 0 ? 0 : rows / tiles, tiles == 0 ? 0 : rows % tiles};
  }
  [[nodiscard]] std::size_t rows_of(std::size_t tile) const { return tile < taller ? height + 1 : height; }
};

/// Longest part of the inner dimension walked at once where rows take several tiles:
/// its 24 KiB of a strip stay in the level-1 cache while the rows pass.
constexpr std::size_t kBlockGroups = 192;

/// `strips` strips under few rows, several strips a tile: more chains of sums at once.
template <class Dot, std::size_t Rows, std::size_t Regs>
inline void few_rows(std::size_t rows, std::size_t strips, Tile tile) {
  constexpr std::size_t kStrips = Regs * kLanes / kStrip;
  for (; strips >= kStrips; strips -= kStrips) {
    run_rows<Dot, Rows, Regs, Fetch::ahead>(rows, tile);
    tile.weights += kStrips * tile.strip_stride;
    tile.sums += kStrips * kStripStep;
  }
  if constexpr (kStrips > 1) {
    if (strips != 0) few_rows<Dot, Rows, Regs / 2>(rows, strips, tile);
  }
}

/// Every strip under one tile of rows.
template <class Dot>
inline void one_tile(std::size_t rows, std::size_t strips, Tile tile) {
  if (rows <= V::kFewRows) return few_rows<Dot, V::kFewRows, V::kFewRegs>(rows, strips, tile);
  if constexpr (V::kFewRegs / 2 >= kStrip / kLanes) {
    if (rows <= 2 * V::kFewRows) return few_rows<Dot, 2 * V::kFewRows, V::kFewRegs / 2>(rows, strips, tile);
  }
  constexpr std::size_t kHalves = kStrip / (kTileRegs * kLanes);
  for (std::size_t strip = 0; strip < strips; ++strip) {
    for (std::size_t half = 0; half < kHalves; ++half) {
      Tile part = tile;
      part.weights += half * kTileRegs * kRegBytes;
      part.sums += half * kTileRegs * kRegBytes;
      run_rows<Dot, Dot::kRows, kTileRegs, Fetch::ahead>(rows, part);
    }
    tile.weights += tile.strip_stride;
    tile.sums += kStripStep;
  }
}

/// One strip's part under all rows. The tiles share in fetching the weights at `next`.
template <class Dot>
inline void one_strip(const Split& split, Tile tile, const std::byte* next) {
  constexpr std::size_t kHalves = kStrip / (kTileRegs * kLanes);
  tile.share_step = (kStripStep / kHalves + split.tiles - 1) / split.tiles;
  tile.share = next;
  for (std::size_t i = 0; i < split.tiles; ++i) {
    for (std::size_t half = 0; half < kHalves; ++half) {
      Tile part = tile;
      part.weights += half * kTileRegs * kRegBytes;
      part.sums += half * kTileRegs * kRegBytes;
      run_rows<Dot, Dot::kRows, kTileRegs, Fetch::share>(split.rows_of(i), part);
      tile.share += tile.groups * tile.share_step;
    }
    tile.x += split.rows_of(i) * tile.x_stride;
    tile.sums += split.rows_of(i) * tile.sums_stride;
  }
}

template <class Dot, Number number>
void product(const ProductCall& call) {
  const Split split = Split::of(call.rows, Dot::kRows);
  const std::size_t strips = call.columns / kStrip;
  Tile tile{.x = static_cast<const std::byte*>(call.x),
            .x_stride = call.x_stride * bytes_of(number),
            .weights = static_cast<const std::byte*>(call.strips),
            .strip_stride = call.groups * kStripStep,
            .sums = static_cast<std::byte*>(call.sums),
            .sums_stride = call.sums_stride * 4,
            .groups = call.groups,
            .start = Start::from_zero};
  if (split.tiles <= 1) {
    if (split.tiles == 1) one_tile<Dot>(call.rows, strips, tile);
    return;
  }
  const std::size_t blocks = call.groups == 0 ? 1 : (call.groups + kBlockGroups - 1) / kBlockGroups;
  std::size_t done = 0;
  for (std::size_t block = 0; block < blocks; ++block) {
    const std::size_t until = call.groups * (block + 1) / blocks;
    Tile part = tile;
    part.x += done * 4;
    part.weights += done * kStripStep;
    part.groups = until - done;
    part.start = block == 0 ? Start::from_zero : Start::from_target;
    for (std::size_t strip = 0; strip < strips; ++strip) {
      const std::byte* next = strip + 1 < strips ? part.weights + tile.strip_stride : tile.weights + until * kStripStep;
      one_strip<Dot>(split, part, next);
      part.weights += tile.strip_stride;
      part.sums += kStripStep;
    }
    done = until;
  }
}

}  // namespace
}  // namespace tidegate
