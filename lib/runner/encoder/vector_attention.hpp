// Self-attention of one head, from the products' tiles. Queries are read where they
// lie; keys and values are copied to where the tiles want them.
#pragma once

#include "runner/encoder/attention_layout.hpp"
#include "runner/encoder/vector_product.hpp"
#include "runner/encoder/vector_rows.hpp"

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
  using Mask = std::size_t;
  static constexpr Number kNumber = Number::f32;

  /// Of the first `numbers` of a register's four-byte groups.
  static Mask mask(std::size_t numbers) { return numbers < kLanes ? numbers : kLanes; }
  static V::Ints load(const std::byte* p, Mask mask) { return V::load_ints_part(p, mask); }

  /// Values as strips of columns.
  static void copy_values(const Head& head) {
    const std::size_t size = head.call.head_size;
    const std::size_t length = head.call.length;
    for (std::size_t i = 0; i < round_up(size, kStrip); i += kLanes) {
      const std::size_t lanes = i < size ? lanes_at(i, size) : 0;
      float* target = head.call.scratch + head.at.values + i / kStrip * length * kStrip + i % kStrip;
      for (std::size_t key = 0; key < length; ++key) {
        const float* value = reinterpret_cast<const float*>(head.values + key * head.stride) + i;
        V::store(target + key * kStrip, lanes == 0 ? V::set(0.0F) : V::load_part(value, lanes));
      }
    }
  }

  /// Of e; so that power((score - highest) * factor) is e^(scale (score - highest)).
  static float factor(float scale) { return scale; }
  static Reg power(Reg x) { return exponential(x); }

  /// Stores a row's probabilities; answers the sum of each lane.
  template <class Row>
  static Reg store_row(float* scores, std::size_t count, const Row& probabilities) {
    Reg sum = V::set(0.0F);
    for (std::size_t i = 0; i < count; i += kLanes) {
      const Reg part = probabilities(i);
      V::store(scores + i, part);
      sum = V::add(sum, part);
    }
    return sum;
  }
};

#if defined(__AVX512BF16__)
/// Operands in bf16.
struct OperandBf16 {
  using Dot = DotBf16;
  using Mask = __mmask32;
  static constexpr Number kNumber = Number::bf16;

  static Mask mask(std::size_t numbers) { return Bf16Words::mask(numbers); }
  static V::Ints load(const std::byte* p, Mask mask) { return Bf16Words::load(p, mask); }

  static void copy_values(const Head& head) {
    const std::size_t size = head.call.head_size;
    const std::size_t length = head.call.length;
    const std::size_t groups = groups_of(kNumber, length);
    for (std::size_t i = 0; i < size; i += kStrip) {
      const Mask columns = mask(size - i);
      const std::byte* row = head.values + 2 * i;
      std::byte* target =
          reinterpret_cast<std::byte*>(head.call.scratch + head.at.values + i / kStrip * groups * kStrip);
      for (std::size_t key = 0; key < length; key += 2) {
        const V::Ints second = load(row + head.stride, key + 1 == length ? 0 : columns);
        Bf16Words::pairs(load(row, columns), second, target);
        row += 2 * head.stride;
        target += kStripStep;
      }
    }
  }

  static float factor(float scale) { return scale * 1.44269504F; }
  static Reg power(Reg x) { return Bf16Words::power(x); }

  /// As of f32, but rounded to bf16 over the row's own scores; the sum is that of the
  /// rounded numbers.
  template <class Row>
  static Reg store_row(float* scores, std::size_t count, const Row& probabilities) {
    std::byte* target = reinterpret_cast<std::byte*>(scores);
    Reg sum = V::set(0.0F);
    std::size_t i = 0;
    for (; i + 2 * kLanes <= count; i += 2 * kLanes) {
      const Reg low = probabilities(i);
      sum = Bf16Words::store_and_sum(target + 2 * i, low, probabilities(i + kLanes), sum);
    }
    if (i < count) sum = Bf16Words::store_and_sum(target + 2 * i, probabilities(i), V::set(0.0F), sum);
    return sum;
  }
};
#endif

/// Keys as strips: group g of key k at [k / kStrip][g][k % kStrip]. Up to whole
/// registers, the last key is repeated; nobody looks at those scores.
template <class Operand>
inline void copy_keys(const Head& head) {
  constexpr std::size_t kPerGroup = 4 / bytes_of(Operand::kNumber);
  const std::size_t size = head.call.head_size;
  const std::size_t groups = groups_of(Operand::kNumber, size);
  const std::size_t stride = head.stride;
  for (std::size_t first = 0; first < head.call.length; first += kLanes) {
    float* strip = head.call.scratch + head.at.keys + first / kStrip * groups * kStrip + first % kStrip;
    const std::size_t last = lanes_at(first, head.call.length) - 1;
    for (std::size_t group = 0; group < groups; group += kLanes) {
      const typename Operand::Mask mask = Operand::mask(size - group * kPerGroup);
      const std::byte* keys = head.keys + first * stride + group * 4;
      V::Ints block[kLanes];
#pragma GCC unroll 16
      for (std::size_t row = 0; row < kLanes; ++row) {
        block[row] = Operand::load(keys + (row < last ? row : last) * stride, mask);
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
              .start = Start::from_zero};
    const bool narrow = keys - key < kWide;
    const Split split = Split::of(rows, narrow ? V::kNarrowRows : Dot::kRows);
    for (std::size_t i = 0; i < split.tiles; ++i) {
      if (narrow) {
        run_rows<Dot, V::kNarrowRows, 1, Fetch::nothing>(split.rows_of(i), tile);
      } else {
        run_rows<Dot, Dot::kRows, kTileRegs, Fetch::nothing>(split.rows_of(i), tile);
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
              .start = Start::from_zero};
    for (std::size_t i = 0; i < split.tiles; ++i) {
      run_rows<Dot, Dot::kRows, kTileRegs, Fetch::nothing>(split.rows_of(i), tile);
      tile.x += split.rows_of(i) * tile.x_stride;
      tile.sums += split.rows_of(i) * tile.sums_stride;
    }
  }
}

/// Scores of one block of queries; strides in floats.
struct Scores {
  float* first;
  std::size_t stride;
  std::size_t length;
};

/// The largest score of each of `rows` rows, up to kLanes, one a lane; scores beyond
/// the last key are made minus infinity on the way.
inline Reg highest_scores(const Scores& scores, std::size_t rows) {
  const std::size_t whole = scores.length / kLanes * kLanes;
  const std::size_t rest = scores.length - whole;
  Reg highest[kLanes] = {};
  float* row = scores.first;
  for (std::size_t i = 0; i < rows; ++i, row += scores.stride) {
    Reg largest = V::set(-__builtin_inff());
    for (std::size_t key = 0; key < whole; key += kLanes) largest = V::max(largest, V::load(row + key));
    if (rest != 0) {
      const Reg last = V::fill(V::load(row + whole), -__builtin_inff(), rest);
      V::store(row + whole, last);
      largest = V::max(largest, last);
    }
    highest[i] = largest;
  }
  return V::fold_rows<V::Max>(highest);
}

/// Turns the scores of `rows` rows, up to kLanes, into probabilities but for their sums,
/// which are the answer, one a lane.
template <class Operand>
inline Reg soften_rows(const Scores& scores, std::size_t rows, float scale) {
  float highest[kLanes];
  V::store(highest, highest_scores(scores, rows));
  const Reg factor = V::set(Operand::factor(scale));
  const std::size_t count = round_up(scores.length, kLanes);
  Reg sums[kLanes] = {};
  float* row = scores.first;
  for (std::size_t i = 0; i < rows; ++i, row += scores.stride) {
    const Reg top = V::set(highest[i]);
    sums[i] = Operand::store_row(
        row, count, [&](std::size_t key) { return Operand::power(V::mul(V::sub(V::load(row + key), top), factor)); });
  }
  return V::fold_rows<V::Add>(sums);
}

/// The same where one register holds a row: everything stays in registers. Rows from
/// `rows` to Rows are computed from whatever lies there, and nobody's business.
template <class Operand, std::size_t Rows>
inline Reg soften_short(const Scores& scores, float scale) {
  Reg held[kLanes];
#pragma GCC unroll 16
  for (std::size_t i = 0; i < kLanes; ++i) {
    held[i] =
        i < Rows ? V::fill(V::load(scores.first + i * scores.stride), -__builtin_inff(), scores.length) : V::set(0.0F);
  }
  float highest[kLanes];
  V::store(highest, V::fold_rows<V::Max>(held));
  const Reg factor = V::set(Operand::factor(scale));
#pragma GCC unroll 16
  for (std::size_t i = 0; i < Rows; ++i) {
    const Reg power = Operand::power(V::mul(V::sub(held[i], V::set(highest[i])), factor));
    held[i] = Operand::store_row(scores.first + i * scores.stride, kLanes, [power](std::size_t) { return power; });
  }
  return V::fold_rows<V::Add>(held);
}

/// context = output / sum
template <Number number>
inline void write_context(const Head& head, std::size_t first, std::size_t rows, const float* inverse_sums) {
  const AttentionCall& call = head.call;
  const std::size_t size = call.head_size;
  const std::size_t output_stride = head.at.padded_head;
  const std::size_t context_stride = call.context_stride * bytes_of(number);
  const float* output = call.scratch + head.at.output;
  std::byte* context =
      static_cast<std::byte*>(call.context) + first * context_stride + call.head * size * bytes_of(number);
  for (std::size_t row = 0; row < rows; ++row) {
    const Reg factor = V::set(inverse_sums[row]);
    std::size_t i = 0;
    for (; i + kLanes <= size; i += kLanes) {
      store_number<number>(context, i, V::mul(V::load(output + i), factor), kLanes);
    }
    if (i < size) store_number<number>(context, i, V::mul(V::load(output + i), factor), size - i);
    output += output_stride;
    context += context_stride;
  }
}

template <class Operand>
inline void attend(const AttentionCall& call) {
  const Head head = Head::of(call);
  float root[kLanes];
  V::store(root, V::div(V::set(1.0F), V::sqrt(V::set(static_cast<float>(call.head_size)))));
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
      const std::size_t stride = head.at.padded_keys;
      const Scores scores{call.scratch + head.at.scores + row * stride, stride, call.length};
      const Reg sums = call.length <= kLanes / 2 ? soften_short<Operand, kLanes / 2>(scores, root[0])
                       : call.length <= kLanes   ? soften_short<Operand, kLanes>(scores, root[0])
                                                 : soften_rows<Operand>(scores, lanes_at(row, rows), root[0]);
      V::store(inverse_sums + row, V::div(V::set(1.0F), sums));
    }
    multiply_values<Operand>(head, rows);
    if (call.context_number == Number::f32) {
      write_context<Number::f32>(head, first, rows, inverse_sums);
    } else {
      write_context<Number::bf16>(head, first, rows, inverse_sums);
    }
    first += rows;
  }
}

}  // namespace
}  // namespace tidegate
