// Results and tensor views.
#include "answer.hpp"

#include "arguments.hpp"
#include "tensor_view.hpp"

using tidegate::Error;
using tidegate::ErrorCode;
using tidegate::Result;

namespace tidegate::capi {
namespace {

template <class Enum>
constexpr bool same(Enum left, int right) {
  return static_cast<int>(left) == right;
}
static_assert(same(DataType::f32, TIDEGATE_DTYPE_F32) && same(DataType::f64, TIDEGATE_DTYPE_F64) &&
              same(DataType::f16, TIDEGATE_DTYPE_F16) && same(DataType::bf16, TIDEGATE_DTYPE_BF16) &&
              same(DataType::i8, TIDEGATE_DTYPE_I8) && same(DataType::i16, TIDEGATE_DTYPE_I16) &&
              same(DataType::i32, TIDEGATE_DTYPE_I32) && same(DataType::i64, TIDEGATE_DTYPE_I64) &&
              same(DataType::u8, TIDEGATE_DTYPE_U8) && same(DataType::boolean, TIDEGATE_DTYPE_BOOL));

tidegate_source source_of(AnswerSource source) noexcept {
  switch (source) {
    case AnswerSource::model: return TIDEGATE_SOURCE_MODEL;
    case AnswerSource::joined: return TIDEGATE_SOURCE_JOINED;
    case AnswerSource::similar: return TIDEGATE_SOURCE_SIMILAR;
    case AnswerSource::cache: break;
  }
  return TIDEGATE_SOURCE_CACHE;
}

}  // namespace

Result<Tensor> copy_tensor(const tidegate_tensor_view* view, const char* noun) {
  auto known = read_struct(view, noun);
  if (!known) return known.error();
  const auto wrong = [noun](const char* what) {
    return Error(ErrorCode::invalid_argument, std::string(noun) + ": " + what);
  };
  const auto type = static_cast<DataType>(known->dtype);
  if (byte_size(type) == 0) return wrong("dtype is none of TIDEGATE_DTYPE_*");
  if (known->rank > kMaxRank) return wrong("rank is above 16");
  if (known->rank > 0 && known->shape == nullptr) return wrong("shape is NULL");
  if (known->bytes > 0 && known->data == nullptr) return wrong("data is NULL");
  if (known->bytes > std::uint64_t{PTRDIFF_MAX}) return wrong("bytes is impossible");
  Shape shape;
  if (known->rank > 0) shape.assign(known->shape, known->shape + known->rank);
  return Tensor::copy_of(type, std::move(shape),
                         {static_cast<const std::byte*>(known->data), static_cast<std::size_t>(known->bytes)});
}

Result<std::vector<Tensor>> copy_tensors(const tidegate_tensor_view* views, std::uint32_t count, const char* noun) {
  std::vector<Tensor> tensors;
  if (count == 0) return tensors;
  const auto stride = struct_size_of(views, noun);
  if (!stride) return stride.error();
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto* const bytes = reinterpret_cast<const unsigned char*>(views) + std::size_t{i} * *stride;
    auto tensor = copy_tensor(reinterpret_cast<const tidegate_tensor_view*>(bytes), noun);
    if (!tensor) return tensor.error();
    tensors.push_back(std::move(*tensor));
  }
  return tensors;
}

tidegate_tensor_view view_of(const Tensor& tensor) noexcept {
  tidegate_tensor_view view{};
  view.dtype = static_cast<tidegate_dtype>(tensor.type());
  view.rank = static_cast<std::uint32_t>(tensor.shape().size());
  view.shape = tensor.shape().empty() ? nullptr : tensor.shape().data();
  view.data = tensor.bytes().data();
  view.bytes = tensor.bytes().size();
  return view;
}

}  // namespace tidegate::capi

using namespace tidegate::capi;  // NOLINT: the C functions below are the API of this namespace

tidegate_status tidegate_result_status(const tidegate_result* result) noexcept {
  const HandleState state = state_of(result);
  return state == HandleState::live ? result->status : status_of(state);
}

const tidegate_error* tidegate_result_error(const tidegate_result* result) noexcept {
  return is_live(result) ? result->error : nullptr;
}

uint32_t tidegate_result_output_count(const tidegate_result* result) noexcept {
  return is_live(result) ? static_cast<uint32_t>(result->response.outputs.size()) : 0;
}

tidegate_status tidegate_result_output(const tidegate_result* result, uint32_t index, tidegate_tensor_view* view,
                                       tidegate_error** err) noexcept {
  return guarded(err, [&]() -> Result<void> {
    if (auto ok = check(result, "result"); !ok) return ok;
    if (index >= result->response.outputs.size()) return Error(ErrorCode::not_found, "the result has no such output");
    return write_struct(view, view_of(result->response.outputs[index]), "view");
  });
}

tidegate_status tidegate_result_timing(const tidegate_result* result, tidegate_timing* timing,
                                       tidegate_error** err) noexcept {
  return guarded(err, [&]() -> Result<void> {
    if (auto ok = check(result, "result"); !ok) return ok;
    const tidegate::Timing& measured = result->response.timing;
    tidegate_timing value{};
    value.source = source_of(result->response.source);
    value.queue_ns = measured.queue.count();
    value.run_ns = measured.run.count();
    value.total_ns = measured.total.count();
    value.batch_size = measured.batch_size;
    value.cache_tier = measured.cache_tier;
    value.replica = measured.replica;
    value.dispatch_ns = measured.dispatch.count();
    value.variant = result->response.variant.c_str();
    value.variant_length = result->response.variant.size();
    value.parts = measured.parts;
    if (result->response.similarity) value.similarity = result->response.similarity->cosine;
    return write_struct(timing, value, "timing");
  });
}

void tidegate_result_release(tidegate_result* result) noexcept {
  if (is_live(result)) delete result;
}
