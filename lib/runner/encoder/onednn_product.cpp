// Products by oneDNN: the only file that knows it. Fixed panel heights, weights
// packed once as the primitive asks, user scratchpads (a primitive then runs on any
// thread), one OpenMP thread. oneDNN's exceptions end in `onednn_call`.
#include <omp.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <oneapi/dnnl/dnnl.hpp>

#include "base/try.hpp"
#include "runner/encoder/product.hpp"

namespace tidegate {
namespace {

using Dims = dnnl::memory::dims;
using Desc = dnnl::memory::desc;
constexpr auto kF32 = dnnl::memory::data_type::f32;

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

template <class F>
Result<void> onednn_call(F&& work) {
  const OneThread one;
  try {
    work();
    return {};
  } catch (const dnnl::error& failure) {
    return Error(ErrorCode::backend_failed, std::string("oneDNN refused a matrix product: ") + failure.what());
  }
}

/// A primitive for one number of rows.
struct Panel {
  std::size_t rows;
  dnnl::matmul::primitive_desc description;
  dnnl::matmul primitive;
};

/// What products of one shape share.
struct ShapePlan {
  dnnl::engine engine;
  std::size_t inner;
  std::size_t columns;
  Desc weights;
  std::size_t scratchpad_bytes = 0;
  std::vector<Panel> panels;  // tallest first; the last one is the unit
  std::string implementation;
};

Panel make_panel(const ShapePlan& plan, std::size_t rows, const Desc& weights) {
  const auto inner = static_cast<dnnl::memory::dim>(plan.inner);
  const auto columns = static_cast<dnnl::memory::dim>(plan.columns);
  const auto height = static_cast<dnnl::memory::dim>(rows);
  const Desc source({height, inner}, kF32, Dims{static_cast<dnnl::memory::dim>(row_stride(plan.inner)), 1});
  const Desc target({height, columns}, kF32, Dims{static_cast<dnnl::memory::dim>(row_stride(plan.columns)), 1});
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  dnnl::matmul::primitive_desc description(plan.engine, source, weights, target, attributes);
  return {rows, description, dnnl::matmul(description)};
}

void execute(const ShapePlan& plan, const Panel& panel, const dnnl::memory& weights, const float* x, float* y,
             float* scratchpad) {
  dnnl::stream stream(plan.engine);
  const dnnl::memory source(panel.description.src_desc(), plan.engine, const_cast<float*>(x));
  const dnnl::memory target(panel.description.dst_desc(), plan.engine, y);
  const dnnl::memory scratch(panel.description.scratchpad_desc(), plan.engine, scratchpad);
  panel.primitive.execute(
      stream,
      {{DNNL_ARG_SRC, source}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DST, target}, {DNNL_ARG_SCRATCHPAD, scratch}});
  stream.wait();
}

/// Largest panels first, then the unit until every row is covered.
void execute_all(const ShapePlan& plan, const dnnl::memory& weights, const Operands& operands, float* scratchpad) {
  std::size_t row = 0;
  for (const Panel& panel : plan.panels) {
    const bool unit = &panel == &plan.panels.back();
    while (row + panel.rows <= operands.rows || (unit && row < operands.rows)) {
      execute(plan, panel, weights, operands.x + row * row_stride(plan.inner),
              operands.y + row * row_stride(plan.columns), scratchpad);
      row += panel.rows;
    }
  }
}

dnnl::memory pack_weights(const ShapePlan& plan, const float* weights) {
  const auto inner = static_cast<dnnl::memory::dim>(plan.inner);
  const auto columns = static_cast<dnnl::memory::dim>(plan.columns);
  dnnl::memory plain(Desc({inner, columns}, kF32, Dims{1, inner}), plan.engine, const_cast<float*>(weights));
  dnnl::memory packed(plan.weights, plan.engine);
  dnnl::stream stream(plan.engine);
  dnnl::reorder(plain, packed).execute(stream, plain, packed);
  stream.wait();
  return packed;
}

// ---- which panel heights agree ----------------------------------------------------

/// Numbers in [-1, 1) from a fixed sequence (a linear congruential generator).
void fill(std::span<float> values) {
  std::uint32_t state = 12345;
  for (float& value : values) {
    state = state * 1664525U + 1013904223U;
    value = static_cast<float>(static_cast<std::int32_t>(state)) * (1.0F / 2147483648.0F);
  }
}

constexpr std::size_t kTrialRows = 192;

/// Multiplies the trial rows, rotated by `shift`, with one panel; rotates back.
std::vector<float> trial(const ShapePlan& plan, const Panel& panel, const dnnl::memory& weights,
                         std::span<const float> rows, std::size_t shift) {
  const std::size_t in = row_stride(plan.inner);
  const std::size_t out = row_stride(plan.columns);
  AlignedBuffer x(kTrialRows * in);
  AlignedBuffer y(kTrialRows * out);
  AlignedBuffer scratchpad(panel.description.scratchpad_desc().get_size() / sizeof(float) + 16);
  for (std::size_t row = 0; row < kTrialRows; ++row) {
    std::memcpy(x.data() + (row + shift) % kTrialRows * in, rows.data() + row * in, in * sizeof(float));
  }
  for (std::size_t row = 0; row + panel.rows <= kTrialRows; row += panel.rows) {
    execute(plan, panel, weights, x.data() + row * in, y.data() + row * out, scratchpad.data());
  }
  std::vector<float> result(kTrialRows * plan.columns);
  for (std::size_t row = 0; row < kTrialRows; ++row) {
    std::memcpy(result.data() + row * plan.columns, y.data() + (row + shift) % kTrialRows * out,
                plan.columns * sizeof(float));
  }
  return result;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// Keeps the heights whose rows agree with `unit` rows at a time, wherever in a
/// panel they stand. False if rows of the unit itself depend on their place.
bool choose_panels(ShapePlan& plan, std::size_t unit, std::span<const float> rows, const float* trial_weights) {
  const Desc any({static_cast<dnnl::memory::dim>(plan.inner), static_cast<dnnl::memory::dim>(plan.columns)}, kF32,
                 dnnl::memory::format_tag::any);
  plan.weights = make_panel(plan, kTrialRows, any).description.weights_desc();
  const dnnl::memory weights = pack_weights(plan, trial_weights);
  plan.panels.clear();
  plan.panels.push_back(make_panel(plan, unit, plan.weights));
  const std::vector<float> expected = trial(plan, plan.panels[0], weights, rows, 0);
  for (const std::size_t shift : {1, 5, 7}) {
    if (!same_bits(expected, trial(plan, plan.panels[0], weights, rows, shift))) return false;
  }
  for (std::size_t height = 2 * unit; height <= kTrialRows; height *= 2) {
    Panel panel = make_panel(plan, height, plan.weights);
    bool agrees = true;
    for (const std::size_t shift : {0, 1, 5, 7}) {
      agrees = agrees && same_bits(expected, trial(plan, panel, weights, rows, shift));
    }
    if (agrees) plan.panels.insert(plan.panels.begin(), std::move(panel));
  }
  return true;
}

Result<std::shared_ptr<const ShapePlan>> make_plan(const dnnl::engine& engine, std::size_t inner, std::size_t columns) {
  auto plan = std::make_shared<ShapePlan>(ShapePlan{engine, inner, columns, {}, 0, {}, {}});
  AlignedBuffer rows(kTrialRows * row_stride(inner));
  AlignedBuffer weights(inner * columns);
  fill(rows.span());
  fill(weights.span());
  bool found = false;
  TIDEGATE_CHECK(onednn_call([&] {
    // Multiples of three suit kernels of three rows, the others those of four and more.
    for (const std::size_t unit : {12U, 16U, 24U, 48U}) {
      if (found = choose_panels(*plan, unit, rows.span(), weights.data()); found) break;
    }
    for (const Panel& panel : plan->panels) {
      plan->scratchpad_bytes = std::max(plan->scratchpad_bytes, panel.description.scratchpad_desc().get_size());
    }
    plan->implementation = plan->panels.back().description.impl_info_str();
  }));
  if (!found) {
    return Error(ErrorCode::unsupported, "oneDNN's product of " + std::to_string(inner) + " x " +
                                             std::to_string(columns) + " depends on a row's place in its panel");
  }
  return std::shared_ptr<const ShapePlan>(std::move(plan));
}

// ---- the method -------------------------------------------------------------------

class OnednnProduct final : public Product {
 public:
  OnednnProduct(std::shared_ptr<const ShapePlan> plan, dnnl::memory weights)
      : plan_(std::move(plan)), weights_(std::move(weights)) {}

  Result<void> run(const Operands& operands, ProductScratch& scratch) const override {
    const std::size_t needed = plan_->scratchpad_bytes / sizeof(float) + 16;
    if (scratch.floats.size() < needed) scratch.floats = AlignedBuffer(needed);
    return onednn_call([&] { execute_all(*plan_, weights_, operands, scratch.floats.data()); });
  }

 private:
  std::shared_ptr<const ShapePlan> plan_;
  dnnl::memory weights_;
};

class OnednnMethod final : public ProductMethod {
 public:
  explicit OnednnMethod(dnnl::engine engine) : engine_(std::move(engine)) {}

  Result<std::unique_ptr<Product>> pack(std::span<const float> weights, std::size_t inner,
                                        std::size_t columns) override {
    auto& plan = plans_[{inner, columns}];
    if (plan == nullptr) {
      TIDEGATE_TRY(plan, make_plan(engine_, inner, columns));
    }
    dnnl::memory packed;
    TIDEGATE_CHECK(onednn_call([&] { packed = pack_weights(*plan, weights.data()); }));
    return std::unique_ptr<Product>(std::make_unique<OnednnProduct>(plan, std::move(packed)));
  }

  std::string description() const override {
    std::string text = "oneDNN " + onednn_version();
    for (const auto& [shape, plan] : plans_) {
      if (plan == nullptr) continue;
      text.append(", ").append(std::to_string(shape.first)).append("x").append(std::to_string(shape.second));
      text.append(" ").append(plan->implementation).append(" rows");
      for (const Panel& panel : plan->panels) text.append(" ").append(std::to_string(panel.rows));
    }
    return text;
  }

 private:
  dnnl::engine engine_;
  std::map<std::pair<std::size_t, std::size_t>, std::shared_ptr<const ShapePlan>> plans_;
};

}  // namespace

std::string onednn_version() {
  const dnnl_version_t* version = dnnl_version();
  return std::to_string(version->major) + "." + std::to_string(version->minor) + "." + std::to_string(version->patch);
}

Result<std::unique_ptr<ProductMethod>> make_onednn_method() {
  // The 3.x headers do not fit another major version's library, whatever was found to load.
  if (dnnl_version()->major != DNNL_VERSION_MAJOR) {
    return Error(ErrorCode::version_mismatch, "oneDNN " + onednn_version() + " was loaded where 3.x is needed");
  }
  std::unique_ptr<ProductMethod> method;
  TIDEGATE_CHECK(
      onednn_call([&] { method = std::make_unique<OnednnMethod>(dnnl::engine(dnnl::engine::kind::cpu, 0)); }));
  return method;
}

}  // namespace tidegate
