// Products by oneDNN: the only file that knows it. Fixed panel heights, weights
// packed once as the primitive asks, user scratchpads (a primitive then runs on any
// thread), one OpenMP thread. oneDNN's exceptions end in `onednn_call`.
#include "runner/encoder/onednn_product.hpp"

#include <omp.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <oneapi/dnnl/dnnl.hpp>

#include "base/try.hpp"

namespace tidegate {
namespace {

using Dim = dnnl::memory::dim;
using Dims = dnnl::memory::dims;
using Desc = dnnl::memory::desc;
using Type = dnnl::memory::data_type;

/// Types of x, weights and sums.
struct Types {
  Type x, weights, sums;
};
Types types_of(Number number) {
  switch (number) {
    case Number::f32: break;
    case Number::bf16: return {Type::bf16, Type::bf16, Type::f32};
    case Number::u8: return {Type::u8, Type::s8, Type::s32};
  }
  return {Type::f32, Type::f32, Type::f32};
}

/// One OpenMP thread for the calling thread, for a scope: oneDNN then runs inline,
/// without a team. The setting belongs to the host's thread and is put back.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

/// Throws nothing, not even for want of memory: members of a team run products.
template <class F>
Result<void> onednn_call(F&& work) noexcept {
  const OneThread one;
  try {
    try {
      work();
      return {};
    } catch (const dnnl::error& failure) {
      if (failure.status == dnnl_out_of_memory) throw std::bad_alloc();
      return Error(ErrorCode::backend_failed, std::string("oneDNN refused a matrix product: ") + failure.what());
    }
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::out_of_memory, "no memory for oneDNN's matrix product");
  }
}

/// A primitive for one number of rows, x and sums at these strides.
struct Height {
  std::size_t rows;
  dnnl::matmul::primitive_desc description;
  dnnl::matmul primitive;
};

/// What products of one shape share.
struct ShapePlan {
  dnnl::engine engine;
  Number number;
  std::size_t inner;
  std::size_t columns;
  Desc weights;
  std::size_t scratchpad_bytes = 0;
  std::vector<Height> heights;  // tallest first; the last one is the unit
  std::string implementation;

  [[nodiscard]] std::size_t x_row_bytes() const { return row_stride(inner) * bytes_of(number); }
};

Height make_height(const ShapePlan& plan, std::size_t rows, const Desc& weights) {
  const Types types = types_of(plan.number);
  const auto height = static_cast<Dim>(rows);
  const Desc source({height, static_cast<Dim>(plan.inner)}, types.x, Dims{static_cast<Dim>(row_stride(plan.inner)), 1});
  const Desc target({height, static_cast<Dim>(plan.columns)}, types.sums,
                    Dims{static_cast<Dim>(row_stride(plan.columns)), 1});
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  dnnl::matmul::primitive_desc description(plan.engine, source, weights, target, attributes);
  return {rows, description, dnnl::matmul(description)};
}

void execute(const ShapePlan& plan, const Height& height, const dnnl::memory& weights, const void* x, void* sums,
             void* scratchpad) {
  dnnl::stream stream(plan.engine);
  const dnnl::memory source(height.description.src_desc(), plan.engine, const_cast<void*>(x));
  const dnnl::memory target(height.description.dst_desc(), plan.engine, sums);
  const dnnl::memory scratch(height.description.scratchpad_desc(), plan.engine, scratchpad);
  height.primitive.execute(
      stream,
      {{DNNL_ARG_SRC, source}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DST, target}, {DNNL_ARG_SCRATCHPAD, scratch}});
  stream.wait();
}

/// Largest panels first, then the unit until every row is covered.
void execute_all(const ShapePlan& plan, const dnnl::memory& weights, const OnednnOperands& operands, void* scratchpad) {
  const auto* x = static_cast<const std::byte*>(operands.x);
  auto* sums = static_cast<std::byte*>(operands.sums);
  std::size_t row = 0;
  for (const Height& height : plan.heights) {
    const bool unit = &height == &plan.heights.back();
    while (row + height.rows <= operands.rows || (unit && row < operands.rows)) {
      execute(plan, height, weights, x + row * plan.x_row_bytes(), sums + row * row_stride(plan.columns) * 4,
              scratchpad);
      row += height.rows;
    }
  }
}

/// `rows_of_columns` is [columns, inner] in the weights' type.
dnnl::memory pack_weights(const ShapePlan& plan, const void* rows_of_columns) {
  const auto inner = static_cast<Dim>(plan.inner);
  const Desc rows({inner, static_cast<Dim>(plan.columns)}, types_of(plan.number).weights, Dims{1, inner});
  dnnl::memory plain(rows, plan.engine, const_cast<void*>(rows_of_columns));
  dnnl::memory packed(plan.weights, plan.engine);
  dnnl::stream stream(plan.engine);
  dnnl::reorder(plain, packed).execute(stream, plain, packed);
  stream.wait();
  return packed;
}

/// The strips of `linear` as [columns, inner].
std::vector<std::byte> unpack(const PackedLinear& linear) {
  const std::size_t size = bytes_of(linear.number);
  const std::size_t per_group = 4 / size;
  const std::size_t groups = groups_of(linear.number, linear.inner);
  std::vector<std::byte> rows(linear.columns * linear.inner * size);
  for (std::size_t column = 0; column < linear.columns; ++column) {
    for (std::size_t k = 0; k < linear.inner; ++k) {
      const std::size_t group = (column / kStrip * groups + k / per_group) * kStrip + column % kStrip;
      std::memcpy(rows.data() + (column * linear.inner + k) * size, linear.strips + group * 4 + k % per_group * size,
                  size);
    }
  }
  return rows;
}

// ---- which panel heights agree ----------------------------------------------------

/// Bytes of numbers in [-1, 1), or any for u8, from a fixed sequence (a linear
/// congruential generator).
std::vector<std::byte> trial_values(Number number, std::size_t count) {
  std::vector<std::byte> bytes(count * bytes_of(number));
  std::uint32_t state = 12345;
  for (std::size_t i = 0; i < count; ++i) {
    state = state * 1664525U + 1013904223U;
    const float value = static_cast<float>(static_cast<std::int32_t>(state)) * (1.0F / 2147483648.0F);
    const auto whole = static_cast<std::uint8_t>(state >> 24);
    const auto* source = reinterpret_cast<const std::byte*>(&value);
    if (number == Number::u8) source = reinterpret_cast<const std::byte*>(&whole);
    if (number == Number::bf16) source += 2;  // the upper half of an f32
    std::memcpy(bytes.data() + i * bytes_of(number), source, bytes_of(number));
  }
  return bytes;
}

constexpr std::size_t kTrialRows = 192;

/// Multiplies the trial rows, rotated by `shift`, with one panel; rotates back.
std::vector<std::byte> trial(const ShapePlan& plan, const Height& height, const dnnl::memory& weights,
                             const std::vector<std::byte>& rows, std::size_t shift) {
  const std::size_t in = plan.x_row_bytes();
  const std::size_t out = row_stride(plan.columns) * 4;
  AlignedArray<std::byte> x(kTrialRows * in);
  AlignedArray<std::byte> sums(kTrialRows * out);
  AlignedArray<std::byte> scratchpad(height.description.scratchpad_desc().get_size() + 64);
  for (std::size_t row = 0; row < kTrialRows; ++row) {
    std::memcpy(x.data() + (row + shift) % kTrialRows * in, rows.data() + row * in, in);
  }
  for (std::size_t row = 0; row + height.rows <= kTrialRows; row += height.rows) {
    execute(plan, height, weights, x.data() + row * in, sums.data() + row * out, scratchpad.data());
  }
  std::vector<std::byte> result(kTrialRows * plan.columns * 4);
  for (std::size_t row = 0; row < kTrialRows; ++row) {
    std::memcpy(result.data() + row * plan.columns * 4, sums.data() + (row + shift) % kTrialRows * out,
                plan.columns * 4);
  }
  return result;
}

/// Keeps the heights whose rows agree with `unit` rows at a time, wherever in a
/// panel they stand. False if rows of the unit itself depend on their place.
bool choose_heights(ShapePlan& plan, std::size_t unit, const std::vector<std::byte>& rows,
                    const std::vector<std::byte>& trial_weights) {
  const Desc any({static_cast<Dim>(plan.inner), static_cast<Dim>(plan.columns)}, types_of(plan.number).weights,
                 dnnl::memory::format_tag::any);
  plan.weights = make_height(plan, kTrialRows, any).description.weights_desc();
  const dnnl::memory weights = pack_weights(plan, trial_weights.data());
  plan.heights.clear();
  plan.heights.push_back(make_height(plan, unit, plan.weights));
  const std::vector<std::byte> expected = trial(plan, plan.heights[0], weights, rows, 0);
  for (const std::size_t shift : {1, 5, 7}) {
    if (expected != trial(plan, plan.heights[0], weights, rows, shift)) return false;
  }
  for (std::size_t height = 2 * unit; height <= kPanelRows; height *= 2) {
    Height taller = make_height(plan, height, plan.weights);
    bool agrees = true;
    for (const std::size_t shift : {0, 1, 5, 7}) {
      agrees = agrees && expected == trial(plan, taller, weights, rows, shift);
    }
    if (agrees) plan.heights.insert(plan.heights.begin(), std::move(taller));
  }
  return true;
}

Result<std::shared_ptr<const ShapePlan>> make_plan(const dnnl::engine& engine, const PackedLinear& linear) {
  auto plan =
      std::make_shared<ShapePlan>(ShapePlan{engine, linear.number, linear.inner, linear.columns, {}, 0, {}, {}});
  const std::vector<std::byte> rows = trial_values(linear.number, kTrialRows * row_stride(linear.inner));
  const std::vector<std::byte> weights = trial_values(linear.number, linear.inner * linear.columns);
  bool found = false;
  TIDEGATE_CHECK(onednn_call([&] {
    // Multiples of three suit kernels of three rows, the others those of four and more.
    for (const std::size_t unit : {12U, 16U, 24U, 48U}) {
      if (found = choose_heights(*plan, unit, rows, weights); found) break;
    }
    for (const Height& height : plan->heights) {
      plan->scratchpad_bytes = std::max(plan->scratchpad_bytes, height.description.scratchpad_desc().get_size());
    }
    plan->implementation = plan->heights.back().description.impl_info_str();
  }));
  if (!found) {
    return Error(ErrorCode::unsupported, "oneDNN's product of " + std::to_string(linear.inner) + " x " +
                                             std::to_string(linear.columns) + " depends on a row's place in its panel");
  }
  return std::shared_ptr<const ShapePlan>(std::move(plan));
}

// ---- the method -------------------------------------------------------------------

class Product final : public OnednnProduct {
 public:
  Product(std::shared_ptr<const ShapePlan> plan, dnnl::memory weights)
      : plan_(std::move(plan)), weights_(std::move(weights)) {}

  std::size_t unit() const noexcept override { return plan_->heights.back().rows; }
  std::size_t scratch_bytes() const noexcept override { return plan_->scratchpad_bytes; }
  Result<void> run(const OnednnOperands& operands, std::byte* scratch) const override {
    return onednn_call([&] { execute_all(*plan_, weights_, operands, scratch); });
  }

 private:
  std::shared_ptr<const ShapePlan> plan_;
  dnnl::memory weights_;
};

class Method final : public OnednnMethod {
 public:
  explicit Method(dnnl::engine engine) : engine_(std::move(engine)) {}

  Result<std::unique_ptr<OnednnProduct>> pack(const PackedLinear& linear) override {
    auto& plan = plans_[{linear.number, linear.inner, linear.columns}];
    if (plan == nullptr) {
      TIDEGATE_TRY(plan, make_plan(engine_, linear));
    }
    dnnl::memory packed;
    TIDEGATE_CHECK(onednn_call([&] { packed = pack_weights(*plan, unpack(linear).data()); }));
    return std::unique_ptr<OnednnProduct>(std::make_unique<Product>(plan, std::move(packed)));
  }

  std::string description() const override {
    std::string text = "oneDNN " + onednn_version();
    for (const auto& [shape, plan] : plans_) {
      if (plan == nullptr) continue;
      text += ", " + std::to_string(plan->inner) + "x" + std::to_string(plan->columns) + " " + plan->implementation;
      text += " rows";
      for (const Height& height : plan->heights) text += " " + std::to_string(height.rows);
    }
    return text;
  }

 private:
  dnnl::engine engine_;
  std::map<std::tuple<Number, std::size_t, std::size_t>, std::shared_ptr<const ShapePlan>> plans_;
};

}  // namespace

std::string onednn_version() {
  const dnnl_version_t* version = dnnl_version();
  return std::to_string(version->major) + "." + std::to_string(version->minor) + "." + std::to_string(version->patch);
}

Result<std::unique_ptr<OnednnMethod>> make_onednn_method() {
  // The 3.x headers do not fit another major version's library, whatever was found to load.
  if (dnnl_version()->major != DNNL_VERSION_MAJOR) {
    return Error(ErrorCode::version_mismatch, "oneDNN " + onednn_version() + " was loaded where 3.x is needed");
  }
  std::unique_ptr<OnednnMethod> method;
  TIDEGATE_CHECK(onednn_call([&] { method = std::make_unique<Method>(dnnl::engine(dnnl::engine::kind::cpu, 0)); }));
  return method;
}

}  // namespace tidegate
