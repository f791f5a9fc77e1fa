// The encoder's inner loops on one thread: billions of operations per second of each
// product, nanoseconds of what runs between them. --kernels=<set> picks the set.
#include <benchmark/benchmark.h>

#include <cstring>
#include <iostream>
#include <new>
#include <random>
#include <string>
#include <vector>

#include "runner/encoder/kernels.hpp"

using namespace tidegate;

namespace {

/// Zeroed bytes on a cache line.
struct Memory {
  explicit Memory(std::size_t count)
      : bytes(static_cast<std::byte*>(::operator new (count, std::align_val_t{64}))), size(count) {
    std::memset(bytes, 0, size);
  }
  ~Memory() { ::operator delete (bytes, std::align_val_t{64}); }
  Memory(const Memory&) = delete;

  [[nodiscard]] float* floats() const { return reinterpret_cast<float*>(bytes); }

  std::byte* bytes;
  std::size_t size;
};

void fill_floats(const Memory& memory) {
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  for (std::size_t i = 0; i < memory.size / 4; ++i) memory.floats()[i] = normal(generator);
}

/// Numbers of moderate size in any format: bytes of 0x3C are 0.0115 in f32 and bf16.
void fill_operand(const Memory& memory) { std::memset(memory.bytes, 0x3C, memory.size); }

struct Shape2 {
  std::size_t inner;
  std::size_t columns;
};
constexpr Shape2 kShapes[] = {{384, 1152}, {384, 384}, {384, 1536}, {1536, 384}};
constexpr std::size_t kLayers = 6;

/// The weights of six layers take turns, as in the model.
void products(benchmark::State& state, const Kernels& kernels, Number number, Shape2 shape, std::size_t rows) {
  const std::size_t groups = groups_of(number, shape.inner);
  const std::size_t layer = groups * 4 * shape.columns;
  const Memory x(rows * row_stride(shape.inner) * bytes_of(number));
  // As far apart as whole layers of the model lie.
  const std::size_t apart = 12 * 384 * 384 * bytes_of(number);
  const Memory strips(kLayers * apart);
  const Memory sums(rows * row_stride(shape.columns) * 4);
  fill_operand(x);
  fill_operand(strips);
  std::size_t turn = 0;
  for (auto _ : state) {
    kernels.product[static_cast<std::size_t>(number)]({x.bytes, row_stride(shape.inner), strips.bytes + turn * apart,
                                                       sums.bytes, row_stride(shape.columns), rows, groups,
                                                       shape.columns});
    turn = turn + 1 == kLayers ? 0 : turn + 1;
    benchmark::ClobberMemory();
  }
  const auto operations = static_cast<double>(2 * rows * shape.inner * shape.columns);
  state.counters["GOPS"] = benchmark::Counter(operations * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["weights_GB/s"] =
      benchmark::Counter(static_cast<double>(layer) * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

/// What the rows of one width need.
struct Rows {
  Rows(std::size_t count_of_rows, std::size_t columns_of_row)
      : rows(count_of_rows),
        width(columns_of_row),
        stride(row_stride(width)),
        sums(rows * stride * 4),
        x(rows * stride * 4),
        columns(stride * 4),
        target(rows * stride * 4),
        scales(rows, {0.001F, -0.1F}),
        target_scales(rows) {
    fill_floats(x);
    fill_floats(columns);
  }
  [[nodiscard]] Dequantizer values(Number number) const {
    return {number, columns.floats(), columns.floats(), columns.floats(), scales.data()};
  }
  void count(benchmark::State& state) const {
    const auto elements = static_cast<double>(rows * width);
    state.counters["ns_per_element"] = benchmark::Counter(
        elements * 1e-9, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
  }

  std::size_t rows, width, stride;
  Memory sums, x, columns, target;
  std::vector<RowScale> scales, target_scales;
};

void set_sums(const Rows& rows, Number number) {
  std::mt19937 generator(2);
  std::normal_distribution<float> normal(0.0F, 2.0F);
  for (std::size_t i = 0; i < rows.sums.size / 4; ++i) {
    const float value = normal(generator);
    const auto whole = static_cast<std::int32_t>(value * 1000.0F);
    std::memcpy(rows.sums.bytes + i * 4, number == Number::u8 ? static_cast<const void*>(&whole) : &value, 4);
  }
}

void finish(benchmark::State& state, const Kernels& kernels, Number number, Number target, Activation activation,
            std::size_t width) {
  const Rows rows(12, width);
  set_sums(rows, number);
  for (auto _ : state) {
    kernels.finish({rows.sums.bytes, rows.stride, rows.values(number), activation, target, rows.target.bytes,
                    rows.stride, rows.rows, rows.width});
    benchmark::ClobberMemory();
  }
  rows.count(state);
}

enum class Factors : std::uint8_t { same, own };

void norm(benchmark::State& state, const Kernels& kernels, Number number, Factors factors, std::size_t width) {
  Rows rows(12, width);
  const Memory own(rows.stride * 4);
  fill_floats(own);
  set_sums(rows, number);
  const float* gamma = factors == Factors::own ? own.floats() : rows.columns.floats();
  for (auto _ : state) {
    kernels.norm({rows.x.floats(),
                  rows.stride,
                  rows.sums.bytes,
                  rows.stride,
                  rows.values(number),
                  rows.columns.floats(),
                  rows.columns.floats(),
                  1e-12F,
                  {number, rows.target.bytes, rows.stride, rows.target_scales.data(), gamma, gamma},
                  rows.rows,
                  rows.width});
    benchmark::ClobberMemory();
  }
  rows.count(state);
}

void narrow(benchmark::State& state, const Kernels& kernels, std::size_t width) {
  Rows rows(12, width);
  for (auto _ : state) {
    kernels.narrow({rows.x.floats(), rows.stride, reinterpret_cast<std::uint8_t*>(rows.target.bytes), rows.stride,
                    rows.target_scales.data(), rows.rows, rows.width});
    benchmark::ClobberMemory();
  }
  rows.count(state);
}

/// One head of MiniLM: 32 numbers; heads of a sequence take turns.
void attention(benchmark::State& state, const Kernels& kernels, Number number, std::size_t length) {
  constexpr std::size_t kHeads = 12;
  constexpr std::size_t kHead = 32;
  const Memory wide(length * row_stride(3 * kHeads * kHead) * 4);
  const Memory narrow(length * row_stride(3 * kHeads * kHead) * 2);
  const Memory context(length * row_stride(kHeads * kHead) * 4);
  const Memory scratch(attention_scratch(length, kHead) * 4);
  fill_floats(wide);
  for (std::size_t i = 0; i < narrow.size / 2; ++i) std::memcpy(narrow.bytes + 2 * i, wide.bytes + 4 * i + 2, 2);
  std::size_t head = 0;
  for (auto _ : state) {
    kernels.attention({number, number == Number::f32 ? wide.bytes : narrow.bytes, row_stride(3 * kHeads * kHead),
                       number, context.bytes, row_stride(kHeads * kHead), length, head, kHeads, kHead,
                       scratch.floats()});
    head = head + 1 == kHeads ? 0 : head + 1;
    benchmark::ClobberMemory();
  }
  const auto operations = static_cast<double>(4 * length * length * kHead);
  state.counters["GOPS"] = benchmark::Counter(operations * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

std::string to_string(Number number) { return number == Number::f32 ? "f32" : number == Number::bf16 ? "bf16" : "u8"; }

void add_products(const Kernels& kernels) {
  for (const Number number : {Number::f32, Number::bf16, Number::u8}) {
    for (const Shape2 shape : kShapes) {
      for (const std::size_t rows : {1U, 2U, 4U, 6U, 12U, 16U, 48U, 96U}) {
        const std::string name = "product/" + to_string(number) + "/" + std::to_string(shape.inner) + "x" +
                                 std::to_string(shape.columns) + "/rows:" + std::to_string(rows);
        benchmark::RegisterBenchmark(
            name.c_str(), [=, &kernels](benchmark::State& state) { products(state, kernels, number, shape, rows); });
      }
    }
  }
}

void add_rows(const Kernels& kernels) {
  for (const Number number : {Number::f32, Number::bf16, Number::u8}) {
    const Number target = number == Number::bf16 ? Number::bf16 : Number::f32;
    const std::string tail = "/" + to_string(number);
    benchmark::RegisterBenchmark(("finish_gelu" + tail).c_str(), [=, &kernels](benchmark::State& state) {
      finish(state, kernels, number, target, Activation::gelu_erf, 1536);
    });
    const Number qkv = number == Number::f32 ? Number::f32 : kernels.attention_number;
    benchmark::RegisterBenchmark(("finish_qkv" + tail).c_str(), [=, &kernels](benchmark::State& state) {
      finish(state, kernels, number, qkv, Activation::identity, 1152);
    });
    for (const std::size_t width : {384U, 768U}) {
      const Factors factors = number == Number::u8 ? Factors::own : Factors::same;
      benchmark::RegisterBenchmark(
          ("norm" + tail + "/" + std::to_string(width)).c_str(),
          [=, &kernels](benchmark::State& state) { norm(state, kernels, number, factors, width); });
    }
  }
}

void add_narrow(const Kernels& kernels) {
  benchmark::RegisterBenchmark("narrow/u8", [&kernels](benchmark::State& state) { narrow(state, kernels, 1536); });
}

void add_attention(const Kernels& kernels) {
  for (const Number number : {Number::f32, Number::bf16}) {
    if (number != Number::f32 && number != kernels.attention_number) continue;
    for (const std::size_t length : {8U, 15U, 32U, 64U, 128U, 512U}) {
      const std::string name = "attention/" + to_string(number) + "/tokens:" + std::to_string(length);
      benchmark::RegisterBenchmark(
          name.c_str(), [=, &kernels](benchmark::State& state) { attention(state, kernels, number, length); });
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  KernelSet set = best_kernel_set(cpu_features());
  constexpr std::string_view kOption = "--kernels=";
  int kept = 0;
  for (int i = 0; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (!argument.starts_with(kOption)) {
      argv[kept++] = argv[i];
      continue;
    }
    const auto named = kernel_set_of(argument.substr(kOption.size()));
    if (!named || !supports(cpu_features(), *named)) {
      std::cerr << argument << ": no set of this name runs on this processor\n";
      return 2;
    }
    set = *named;
  }
  const Kernels& kernels = kernels_of(set);
  benchmark::AddCustomContext("kernels", std::string(tidegate::to_string(set)));
  add_products(kernels);
  add_rows(kernels);
  add_narrow(kernels);
  add_attention(kernels);
  benchmark::Initialize(&kept, argv);
  if (benchmark::ReportUnrecognizedArguments(kept, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
