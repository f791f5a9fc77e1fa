// Measures oneDNN's matrix products on MiniLM-L6's shapes, one thread, packed
// weights cycled over six layers as an encoder would. Compiles against oneDNN 2.6
// and 3.x, so that both can be measured on one machine (run.sh); each prints
// billions of operations per second per type and number of rows.
#include <omp.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <unordered_map>
#include <vector>

namespace {

using DataType = dnnl::memory::data_type;
using Tag = dnnl::memory::format_tag;

constexpr int kLayers = 6;
constexpr int kPerLayer = 4;

struct Shape {
  std::int64_t inner;
  std::int64_t columns;
};
constexpr Shape kShapes[kPerLayer] = {{384, 1152}, {384, 384}, {384, 1536}, {1536, 384}};

struct Kind {
  const char* name;
  DataType source;
  DataType weight;
  DataType target;
};
constexpr Kind kKinds[] = {
    {"f32", DataType::f32, DataType::f32, DataType::f32},
    {"bf16", DataType::bf16, DataType::bf16, DataType::f32},
    {"s8s8s32", DataType::s8, DataType::s8, DataType::s32},
    {"u8s8s32", DataType::u8, DataType::s8, DataType::s32},
};

dnnl::matmul::primitive_desc describe(const dnnl::engine& engine, const Kind& kind, const Shape& shape,
                                      std::int64_t rows) {
  const dnnl::memory::desc source({rows, shape.inner}, kind.source, Tag::ab);
  const dnnl::memory::desc weight({shape.inner, shape.columns}, kind.weight, Tag::any);
  const dnnl::memory::desc target({rows, shape.columns}, kind.target, Tag::ab);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
#if DNNL_VERSION_MAJOR >= 3
  return {engine, source, weight, target, attributes};
#else
  return {dnnl::matmul::desc(source, weight, target), attributes, engine};
#endif
}

struct Product {
  dnnl::matmul primitive;
  std::unordered_map<int, dnnl::memory> arguments;
};

/// Six layers of four products with weights of their own, packed as the primitive asks.
std::vector<Product> make_products(const dnnl::engine& engine, const Kind& kind, std::int64_t rows,
                                   std::string* implementation) {
  std::vector<Product> products;
  for (int layer = 0; layer < kLayers; ++layer) {
    for (const Shape& shape : kShapes) {
      const auto description = describe(engine, kind, shape, rows);
      *implementation = description.impl_info_str();
      dnnl::memory source(description.src_desc(), engine);
      dnnl::memory weight(description.weights_desc(), engine);
      dnnl::memory target(description.dst_desc(), engine);
      dnnl::memory scratchpad(description.scratchpad_desc(), engine);
      // Zeros cost as much as other numbers; denormals, which would not, cannot arise.
      std::memset(source.get_data_handle(), 0, source.get_desc().get_size());
      std::memset(weight.get_data_handle(), 0, weight.get_desc().get_size());
      products.push_back({dnnl::matmul(description),
                          {{DNNL_ARG_SRC, source},
                           {DNNL_ARG_WEIGHTS, weight},
                           {DNNL_ARG_DST, target},
                           {DNNL_ARG_SCRATCHPAD, scratchpad}}});
    }
  }
  return products;
}

double operations(std::int64_t rows) {
  double total = 0;
  for (const Shape& shape : kShapes) {
    total += 2.0 * static_cast<double>(rows) * static_cast<double>(shape.inner) * static_cast<double>(shape.columns);
  }
  return total * kLayers;
}

/// Best of seven rounds of about 80 ms.
double measure(const dnnl::engine& engine, const Kind& kind, std::int64_t rows, std::string* implementation) {
  using clock = std::chrono::steady_clock;
  auto products = make_products(engine, kind, rows, implementation);
  dnnl::stream stream(engine);
  const auto pass = [&] {
    for (auto& product : products) product.primitive.execute(stream, product.arguments);
    stream.wait();
  };
  pass();
  double best = 0;
  for (int round = 0; round < 7; ++round) {
    const auto begin = clock::now();
    int passes = 0;
    double seconds = 0;
    do {
      pass();
      ++passes;
      seconds = std::chrono::duration<double>(clock::now() - begin).count();
    } while (seconds < 0.08);
    const double rate = operations(rows) * passes / seconds * 1e-9;
    if (rate > best) best = rate;
  }
  return best;
}

}  // namespace

int main() {
  omp_set_num_threads(1);
  const dnnl_version_t* version = dnnl_version();
  std::printf("oneDNN %d.%d.%d, one thread, GOPS\n", version->major, version->minor, version->patch);
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  for (const Kind& kind : kKinds) {
    std::printf("%-8s", kind.name);
    std::string implementation;
    for (const std::int64_t rows : {1, 16, 32, 64, 128, 256}) {
      try {
        std::printf("  M=%-3lld %7.1f", static_cast<long long>(rows), measure(engine, kind, rows, &implementation));
      } catch (const dnnl::error& failure) {
        std::printf("  M=%-3lld unsupported (%s)", static_cast<long long>(rows), failure.what());
        break;
      }
      std::fflush(stdout);
    }
    std::printf("  %s\n", implementation.c_str());
  }
}
