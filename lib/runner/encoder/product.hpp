// Product: multiplying activations by one weight matrix, behind which the way of
// computing it is chosen per machine (docs/decisions/0002-onednn-version.md).
#pragma once

#include <memory>
#include <string>

#include "runner/encoder/aligned_buffer.hpp"
#include "runner/encoder/kernels.hpp"

namespace tidegate {

/// Floats between the rows of an activation matrix of `columns` columns.
[[nodiscard]] constexpr std::size_t row_stride(std::size_t columns) noexcept { return round_up(columns, kColumnUnit); }

/// Rows of activation matrices are rounded up to whole multiples of this.
inline constexpr std::size_t kRowUnit = 48;

/// x is [rows, inner], y is [rows, columns], each with its row_stride. Rows between
/// `rows` and the next multiple of kRowUnit must be allocated in both: a method of
/// fixed panel heights reads and writes them.
struct Operands {
  const float* x;
  float* y;
  std::size_t rows;
};

/// Space a product needs while it runs; one per thread, grows to the largest need.
struct ProductScratch {
  AlignedBuffer floats;
};

/// Immutable and thread-safe. A row of y depends on that row of x alone, bit for bit.
class Product {
 public:
  virtual ~Product() = default;
  /// Errors: backend_failed (the library refused).
  [[nodiscard]] virtual Result<void> run(const Operands& operands, ProductScratch& scratch) const = 0;
};

/// A way of computing products.
class ProductMethod {
 public:
  virtual ~ProductMethod() = default;
  /// Packs `weights`, [columns, inner] as model files hold it.
  [[nodiscard]] virtual Result<std::unique_ptr<Product>> pack(std::span<const float> weights, std::size_t inner,
                                                              std::size_t columns) = 0;
  /// Names the method and everything its bits depend on; final once all is packed.
  [[nodiscard]] virtual std::string description() const = 0;
};

/// The product kernel of a kernel set.
[[nodiscard]] std::unique_ptr<ProductMethod> make_strip_method(const Kernels& kernels);

/// oneDNN's matrix product. Each shape is tried at load: only panel heights whose
/// rows come out the same, bit for bit, wherever they stand are used.
[[nodiscard]] Result<std::unique_ptr<ProductMethod>> make_onednn_method();

/// "3.2.0"
[[nodiscard]] std::string onednn_version();

}  // namespace tidegate
