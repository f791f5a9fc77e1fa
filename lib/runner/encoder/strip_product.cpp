// Products by the kernel set's own loops, over weights packed as column strips.
#include "runner/encoder/product.hpp"

namespace tidegate {
namespace {

class StripProduct final : public Product {
 public:
  StripProduct(const Kernels& kernels, std::span<const float> weights, std::size_t inner, std::size_t columns)
      : kernels_(kernels), inner_(inner), columns_(columns), packed_(round_up(columns, kernels.strip) * inner) {
    const std::size_t strip = kernels.strip;
    for (std::size_t column = 0; column < columns; ++column) {
      float* target = packed_.data() + column / strip * strip * inner + column % strip;
      for (std::size_t k = 0; k < inner; ++k) target[k * strip] = weights[column * inner + k];
    }
  }

  Result<void> run(const Operands& operands, ProductScratch&) const override {
    kernels_.product({operands.x, row_stride(inner_), packed_.data(), operands.y, row_stride(columns_), operands.rows,
                      inner_, round_up(columns_, kernels_.strip)});
    return {};
  }

 private:
  const Kernels& kernels_;
  std::size_t inner_;
  std::size_t columns_;
  AlignedBuffer packed_;
};

class StripMethod final : public ProductMethod {
 public:
  explicit StripMethod(const Kernels& kernels) : kernels_(kernels) {}

  Result<std::unique_ptr<Product>> pack(std::span<const float> weights, std::size_t inner,
                                        std::size_t columns) override {
    return std::unique_ptr<Product>(std::make_unique<StripProduct>(kernels_, weights, inner, columns));
  }

  std::string description() const override { return "strips, " + std::string(to_string(kernels_.set)); }

 private:
  const Kernels& kernels_;
};

}  // namespace

std::unique_ptr<ProductMethod> make_strip_method(const Kernels& kernels) {
  return std::make_unique<StripMethod>(kernels);
}

}  // namespace tidegate
