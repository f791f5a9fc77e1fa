// Products by oneDNN: what the encoder uses where the processor has tiles (AMX), which
// its own kernels do not drive, and the check of those kernels.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <tuple>

#include "runner/encoder/aligned_buffer.hpp"
#include "runner/encoder/packed_model.hpp"
#include "tidegate/result.hpp"

namespace tidegate {

/// Rows of one product in the types of ProductCall, x and sums with the row_stride of
/// their widths. Both must be allocated up to the next multiple of OnednnProduct::unit.
struct OnednnOperands {
  const void* x;
  void* sums;
  std::size_t rows;
};

/// Immutable and thread-safe. A row of sums depends on that row of x alone, bit for bit.
class OnednnProduct {
 public:
  virtual ~OnednnProduct() = default;
  /// Rows are made so many at a time: a divisor of kPanelRows. Threads may share out a
  /// product's rows in whole units.
  [[nodiscard]] virtual std::size_t unit() const noexcept = 0;
  /// What `run` needs while it runs.
  [[nodiscard]] virtual std::size_t scratch_bytes() const noexcept = 0;
  /// `scratch` starts on a cache line and is this call's alone. oneDNN allocates a few
  /// small objects a call. Errors: backend_failed (the library refused), out_of_memory.
  [[nodiscard]] virtual Result<void> run(const OnednnOperands& operands, std::byte* scratch) const = 0;
};

/// Makes products. Each shape is tried when its first matrix is packed: only panel
/// heights whose rows come out the same, bit for bit, wherever they stand are used.
class OnednnMethod {
 public:
  virtual ~OnednnMethod() = default;
  /// Copies the weights of `linear` into oneDNN's own layout. Errors: backend_failed,
  /// out_of_memory, unsupported (bits depend on a row's place).
  [[nodiscard]] virtual Result<std::unique_ptr<OnednnProduct>> pack(const PackedLinear& linear) = 0;
  /// Names the kernels chosen and everything their bits depend on; final once all is packed.
  [[nodiscard]] virtual std::string description() const = 0;
};

[[nodiscard]] Result<std::unique_ptr<OnednnMethod>> make_onednn_method();

/// "3.2.0"
[[nodiscard]] std::string onednn_version();

}  // namespace tidegate
