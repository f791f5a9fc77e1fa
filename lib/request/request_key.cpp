#include "request/request_key.hpp"

#include <array>
#include <cstring>
#include <string_view>

#include "base/sha256.hpp"

namespace tidegate {
namespace {

/// Changes with every change of the encoding, so that no two encodings share keys.
constexpr std::string_view kFormat = "tidegate.request.v1";

enum class InputKind : std::uint64_t { text = 1, tensors = 2 };

/// Feeds a digest through a small buffer: the many short fields of a request cost
/// one digest update instead of one each.
class KeyWriter {
 public:
  /// A field of unknown size: its length, then its bytes.
  void field(std::span<const std::byte> bytes) noexcept {
    number(bytes.size());
    raw(bytes);
  }
  /// A field holding one number, little-endian.
  void number_field(std::uint64_t value) noexcept {
    number(sizeof(value));
    number(value);
  }
  /// Eight bytes, little-endian.
  void number(std::uint64_t value) noexcept {
    std::array<std::byte, 8> bytes;
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(value >> (8 * i));
    raw(bytes);
  }

  [[nodiscard]] Digest finish() noexcept {
    flush();
    return hash_.finish();
  }

 private:
  void raw(std::span<const std::byte> bytes) noexcept {
    if (bytes.size() > buffer_.size() - used_) flush();
    if (bytes.size() > buffer_.size()) {
      hash_.update(bytes);
      return;
    }
    if (!bytes.empty()) std::memcpy(buffer_.data() + used_, bytes.data(), bytes.size());
    used_ += bytes.size();
  }
  void flush() noexcept {
    if (used_ > 0) hash_.update(std::span<const std::byte>(buffer_).first(used_));
    used_ = 0;
  }

  Sha256 hash_;
  std::array<std::byte, 512> buffer_;
  std::size_t used_ = 0;
};

void write_tensor(KeyWriter& writer, const Tensor& tensor) noexcept {
  const Shape& shape = tensor.shape();
  writer.number_field(static_cast<std::uint64_t>(tensor.type()));
  writer.number_field(shape.size());
  writer.number(shape.size() * sizeof(std::int64_t));
  for (const std::int64_t dimension : shape) writer.number(static_cast<std::uint64_t>(dimension));
  writer.field(tensor.bytes());
}

}  // namespace

CacheKey make_request_key(const Digest& model_fingerprint, const Input& input, const CacheStamps& stamps) noexcept {
  KeyWriter writer;
  writer.field(std::as_bytes(std::span(kFormat)));
  writer.field(std::as_bytes(std::span(model_fingerprint)));
  if (const auto* text = std::get_if<std::string>(&input)) {
    writer.number_field(static_cast<std::uint64_t>(InputKind::text));
    writer.field(std::as_bytes(std::span(*text)));
  } else if (const auto* tensors = std::get_if<std::vector<Tensor>>(&input)) {
    writer.number_field(static_cast<std::uint64_t>(InputKind::tensors));
    writer.number_field(tensors->size());
    for (const Tensor& tensor : *tensors) write_tensor(writer, tensor);
  }
  if (!stamps.never()) {
    for (const std::int64_t stamp : {stamps.model, stamps.version, stamps.tag}) {
      writer.number_field(static_cast<std::uint64_t>(stamp));
    }
  }
  return writer.finish();
}

}  // namespace tidegate
