// AlignedBuffer: floats on a cache-line boundary.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <span>

namespace tidegate {

/// Owns `size` floats, zero at first. Throws std::bad_alloc; callers that load
/// models or run batches catch it at their border.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(std::size_t size)
      : data_(static_cast<float*>(::operator new(size * sizeof(float), kAlignment))), size_(size) {
    for (float& value : span()) value = 0.0F;
  }

  [[nodiscard]] float* data() noexcept { return data_.get(); }
  [[nodiscard]] const float* data() const noexcept { return data_.get(); }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::span<float> span() noexcept { return {data_.get(), size_}; }
  [[nodiscard]] std::span<const float> span() const noexcept { return {data_.get(), size_}; }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Free {
    void operator()(float* data) const noexcept { ::operator delete(data, kAlignment); }
  };
  std::unique_ptr<float, Free> data_;
  std::size_t size_ = 0;
};

}  // namespace tidegate
