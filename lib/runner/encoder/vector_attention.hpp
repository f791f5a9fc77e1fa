// Self-attention of one head, from the products' tiles. Queries are read where they
// lie; keys and values are copied to where the tiles want them.
#pragma once

#include "runner/encoder/attention_layout.hpp"
#include "runner/encoder/vector_product.hpp"

namespace tidegate {
namespace {

/// One head's operands; strides in bytes, of `Operand::kNumber`.
struct Head {
  const AttentionCall& call;
  AttentionLayout at;
  const std::byte* queries;
  const std::byte* keys;
  const std::byte* values;
  std::size_t stride;

  static Head of(const AttentionCall& call) {
    const std::size_t bytes = bytes_of(call.number);
    const std::size_t hidden = call.heads * call.head_size * bytes;
    const std::byte* queries = static_cast<const std::byte*>(call.qkv) + call.head * call.head_size * bytes;
    return {call,
            AttentionLayout::of(call.length, call.head_size),
            queries,
            queries + hidden,
            queries + 2 * hidden,
            call.qkv_stride * bytes};
  }
};

/// Operands in f32.
struct OperandF32 {
  using Dot = DotF32;
  static constexpr Number kNumber = Number::f32;

  static V::Ints load(const std::byte* p, std::size_t numbers) { return V::load_ints_part(p, numbers); }

  /// Values as strips of columns.
  static void copy_values(const Head& head) {
    const std::size_t size = head.call.head_size;
    for (std::size_t key = 0; key < head.call.length; ++key) {
      const float* value = reinterpret_cast<const float*>(head.values + key * head.stride);
      float* target = head.call.scratch + head.at.values + key * kStrip;
      for (std::size_t i = 0; i < round_up(size, kStrip); i += kLanes) {
        const Reg part = i < size ? V::load_part(value + i, lanes_at(i, size)) : V::set(0.0F);
        V::store(target + i / kStrip * head.call.length * kStrip + i % kStrip, part);
      }
    }
  }

  /// e^(scale (score - highest)) over a row of `count` scores, in place; the sum of each lane.
  static Reg soften(float* scores, std::size_t count, float scale, float highest) {
    const Reg factor = V::set(scale);
    const Reg top = V::set(highest);
    Reg sum = V::set(0.0F);
    for (std::size_t i = 0; i < count; i += kLanes) {
      const Reg power = exponential(V::mul(V::sub(V::load(scores + i), top), factor));
      V::store(scores + i, power);
      sum = V::add(sum, power);
    }
    return sum;
  }
};

#if defined(__AVX512BF16__)
/// Operands in bf16.
struct OperandBf16 {
  using Dot = DotBf16;
  static constexpr Number kNumber = Number::bf16;

  static V::Ints load(const std::byte* p, std::size_t numbers) { return Bf16Words::load(p, numbers); }

  static void copy_values(const Head& head) {
    const std::size_t size = head.call.head_size;
    const std::size_t groups = groups_of(kNumber, head.call.length);
    for (std::size_t group = 0; group < groups; ++group) {
      const std::byte* first = head.values + 2 * group * head.stride;
      const bool alone = 2 * group + 1 == head.call.length;
      for (std::size_t i = 0; i < size; i += kStrip) {
        const std::size_t numbers = size - i < kStrip ? size - i : kStrip;
        const V::Ints low = load(first + 2 * i, numbers);
        const V::Ints high = alone ? V::no_ints() : load(first + head.stride + 2 * i, numbers);
        const std::size_t target = (i / kStrip * groups + group) * kStrip;
        Bf16Words::pairs(low, high, reinterpret_cast<std::byte*>(head.call.scratch + head.at.values + target));
      }
    }
  }

  /// As of f32, but rounded to bf16 over the row's own scores; the sum is that of the
  /// rounded numbers.
  static Reg soften(float* scores, std::size_t count, float scale, float highest) {
    const Reg factor = V::set(scale * 1.44269504F);
    const Reg top = V::set(highest);
    std::byte* target = reinterpret_cast<std::byte*>(scores);
    Reg sum = V::set(0.0F);
    std::size_t i = 0;
    for (; i + 2 * kLanes <= count; i += 2 * kLanes) {
      const Reg low = coarse_power(V::mul(V::sub(V::load(scores + i), top), factor));
      const Reg high = coarse_power(V::mul(V::sub(V::load(scores + i + kLanes), top), factor));
      sum = Bf16Words::store_and_sum(target + 2 * i, low, high, sum);
    }
    if (i < count) {
      const Reg low = coarse_power(V::mul(V::sub(V::load(scores + i), top), factor));
      sum = Bf16Words::store_and_sum(target + 2 * i, low, V::set(0.0F), sum);
    }
    return sum;
  }
};
#endif

/// Keys as strips: group g of key k at [k / kStrip][g][k % kStrip]; keys beyond the
/// last are zero up to whole registers.
template <class Operand>
inline void copy_keys(const Head& head) {
  constexpr std::size_t kPerGroup = 4 / bytes_of(Operand::kNumber);
  const std::size_t size = head.call.head_size;
  const std::size_t groups = groups_of(Operand::kNumber, size);
  for (std::size_t first = 0; first < head.call.length; first += kLanes) {
    float* strip = head.call.scratch + head.at.keys + first / kStrip * groups * kStrip + first % kStrip;
    const std::size_t rows = lanes_at(first, head.call.length);
    for (std::size_t group = 0; group < groups; group += kLanes) {
      const std::size_t numbers = size - group * kPerGroup;
      V::Ints block[kLanes];
#pragma GCC unroll 16
      for (std::size_t row = 0; row < kLanes; ++row) {
        const std::byte* key = head.keys + (first + row) * head.stride + group * 4;
        block[row] =
            row < rows ? Operand::load(key, numbers < kLanes * kPerGroup ? numbers : kLanes * kPerGroup) : V::no_ints();
      }
      V::transpose(block);
      const std::size_t columns = lanes_at(group, groups);
#pragma GCC unroll 16
      for (std::size_t i = 0; i < kLanes; ++i) {
        if (i < columns) V::store_ints(strip + (group + i) * kStrip, block[i]);
      }
    }
  }
}

/// scores = queries * keys for up to kQueries rows.
template <class Operand>
inline void multiply_keys(const Head& head, std::size_t first, std::size_t rows) {
  using Dot = typename Operand::Dot;
  constexpr std::size_t kWide = kTileRegs * kLanes;
  const std::size_t groups = groups_of(Operand::kNumber, head.call.head_size);
  const std::size_t keys = round_up(head.call.length, kLanes);
  for (std::size_t key = 0; key < keys; key += kWide) {
    Tile tile{.x = head.queries + first * head.stride,
              .x_stride = head.stride,
              .weights = reinterpret_cast<const std::byte*>(head.call.scratch + head.at.keys +
                                                            key / kStrip * groups * kStrip + key % kStrip),
              .strip_stride = 0,
              .sums = reinterpret_cast<std::byte*>(head.call.scratch + head.at.scores + key),
              .sums_stride = head.at.padded_keys * 4,
              .groups = groups,
              .start = Start::from_zero,
              .ahead = 0};
    const bool narrow = keys - key < kWide;
    const Split split = Split::of(rows, narrow ? V::kNarrowRows : Dot::kRows);
    for (std::size_t i = 0; i < split.tiles; ++i) {
      if (narrow) {
        run_rows<Dot, V::kNarrowRows, 1>(split.rows_of(i), tile);
      } else {
        run_rows<Dot, Dot::kRows, kTileRegs>(split.rows_of(i), tile);
      }
      tile.x += split.rows_of(i) * tile.x_stride;
      tile.sums += split.rows_of(i) * tile.sums_stride;
    }
  }
}

/// output = probabilities * values.
template <class Operand>
inline void multiply_values(const Head& head, std::size_t rows) {
  using Dot = typename Operand::Dot;
  const std::size_t groups = groups_of(Operand::kNumber, head.call.length);
  const Split split = Split::of(rows, Dot::kRows);
  for (std::size_t column = 0; column < head.call.head_size; column += kTileRegs * kLanes) {
    Tile tile{.x = reinterpret_cast<const std::byte*>(head.call.scratch + head.at.scores),
              .x_stride = head.at.padded_keys * 4,
              .weights = reinterpret_cast<const std::byte*>(head.call.scratch + head.at.values +
                                                            column / kStrip * groups * kStrip + column % kStrip),
              .strip_stride = 0,
              .sums = reinterpret_cast<std::byte*>(head.call.scratch + head.at.output + column),
              .sums_stride = head.at.padded_head * 4,
              .groups = groups,
              .start = Start::from_zero,
              .ahead = 0};
    for (std::size_t i = 0; i < split.tiles; ++i) {
      run_rows<Dot, Dot::kRows, kTileRegs>(split.rows_of(i), tile);
      tile.x += split.rows_of(i) * tile.x_stride;
      tile.sums += split.rows_of(i) * tile.sums_stride;
    }
  }
}

/// The largest score of up to kLanes rows, one a lane; scores beyond the last key are
/// made minus infinity on the way.
inline Reg highest_scores(const Head& head, std::size_t row, std::size_t rows) {
  const std::size_t whole = head.call.length / kLanes * kLanes;
  Reg highest[kLanes];
  for (std::size_t i = 0; i < kLanes; ++i) {
    highest[i] = V::set(-__builtin_inff());
    if (i >= rows) continue;
    float* scores = head.call.scratch + head.at.scores + (row + i) * head.at.padded_keys;
    for (std::size_t key = 0; key < whole; key += kLanes) highest[i] = V::max(highest[i], V::load(scores + key));
    if (whole == head.call.length) continue;
    const Reg last = V::fill(V::load(scores + whole), -__builtin_inff(), head.call.length - whole);
    V::store(scores + whole, last);
    highest[i] = V::max(highest[i], last);
  }
  return V::fold_rows<V::Max>(highest);
}

/// Turns scores of up to kLanes rows into probabilities but for their sums, which are
/// the answer, one a lane.
template <class Operand>
inline Reg soften_rows(const Head& head, std::size_t row, std::size_t rows, float scale) {
  float highest[kLanes];
  V::store(highest, highest_scores(head, row, rows));
  Reg sums[kLanes];
  for (std::size_t i = 0; i < kLanes; ++i) {
    sums[i] = V::set(1.0F);
    if (i >= rows) continue;
    float* scores = head.call.scratch + head.at.scores + (row + i) * head.at.padded_keys;
    sums[i] = Operand::soften(scores, round_up(head.call.length, kLanes), scale, highest[i]);
  }
  return V::fold_rows<V::Add>(sums);
}

/// context = output / sum
inline void write_context(const Head& head, std::size_t first, std::size_t rows, const float* inverse_sums) {
  const AttentionCall& call = head.call;
  for (std::size_t row = 0; row < rows; ++row) {
    const Reg factor = V::set(inverse_sums[row]);
    const float* output = call.scratch + head.at.output + row * head.at.padded_head;
    std::byte* context =
        static_cast<std::byte*>(call.context) +
        ((first + row) * call.context_stride + call.head * call.head_size) * bytes_of(call.context_number);
    for (std::size_t i = 0; i < call.head_size; i += kLanes) {
      const std::size_t lanes = lanes_at(i, call.head_size);
      const Reg value = V::mul(V::load(output + i), factor);
      if (call.context_number == Number::f32) {
        V::store_part(reinterpret_cast<float*>(context) + i, value, lanes);
      } else {
        V::store_bf16(context + 2 * i, value, lanes);
      }
    }
  }
}

template <class Operand>
inline void attend(const AttentionCall& call) {
  const Head head = Head::of(call);
  const Reg root = V::sqrt(V::set(static_cast<float>(call.head_size)));
  float scale[kLanes];
  V::store(scale, V::div(V::set(1.0F), root));
  copy_keys<Operand>(head);
  Operand::copy_values(head);
  // Sixteen rows at once where a tile of the scores takes as many, else whole tiles.
  const std::size_t most = call.length <= AttentionLayout::kQueries ? AttentionLayout::kQueries : Operand::Dot::kRows;
  const Split split = Split::of(call.length, most);
  std::size_t first = 0;
  for (std::size_t i = 0; i < split.tiles; ++i) {
    const std::size_t rows = split.rows_of(i);
    multiply_keys<Operand>(head, first, rows);
    float inverse_sums[AttentionLayout::kQueries];
    for (std::size_t row = 0; row < rows; row += kLanes) {
      const Reg sums = soften_rows<Operand>(head, row, rows - row < kLanes ? rows - row : kLanes, scale[0]);
      V::store(inverse_sums + row, V::div(V::set(1.0F), sums));
    }
    multiply_values<Operand>(head, rows);
    write_context(head, first, rows, inverse_sums);
    first += rows;
  }
}

}  // namespace
}  // namespace tidegate
