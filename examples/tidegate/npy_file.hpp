// A NumPy .npy file of f32 rows, written in any order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "tidegate/result.hpp"

namespace tidegate::program {

/// Writes beside the target and renames at the end, so a failed run leaves the
/// target as it was. Format: NumPy enhancement proposal 1, version 1.0.
class NpyFile {
 public:
  /// Reserves the space at once, so a full disk is found before the work is done.
  [[nodiscard]] static Result<NpyFile> create(const std::string& path, std::size_t rows, std::size_t columns);

  NpyFile(NpyFile&& other) noexcept;
  NpyFile& operator=(NpyFile&&) = delete;
  /// Removes what was not committed.
  ~NpyFile();

  /// Thread-safe for different rows. `values` has `columns` elements.
  [[nodiscard]] Result<void> write_row(std::size_t row, std::span<const float> values);
  [[nodiscard]] Result<void> commit();

 private:
  NpyFile(std::string path, int descriptor, std::size_t header_bytes, std::size_t columns);
  [[nodiscard]] Error failure(const char* action) const;

  std::string path_;
  int descriptor_ = -1;
  std::size_t header_bytes_ = 0;
  std::size_t columns_ = 0;
};

}  // namespace tidegate::program
