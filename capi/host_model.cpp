#include "host_model.hpp"

#include <utility>

#include "arguments.hpp"
#include "boundary.hpp"
#include "tensor_view.hpp"

using tidegate::BatchItem;
using tidegate::Error;
using tidegate::ErrorCode;
using tidegate::Result;
using tidegate::Tensor;

namespace tidegate::capi {

HostModel::~HostModel() {
  if (!owned_.load(std::memory_order_acquire) || table_.destroy == nullptr) return;
  try {
    table_.destroy(table_.ctx);
  } catch (...) {
    // The host broke its promise; there is nobody left to tell.
  }
}

void HostModel::run(std::span<BatchItem> items) const {
  tidegate_batch batch(items);
  Error left(ErrorCode::abandoned, "the program's run_batch gave no answer for this item");
  try {
    const tidegate_status status = table_.run_batch(table_.ctx, &batch);
    if (status < 0) {
      left = Error(ErrorCode::host_failed,
                   std::string("the program's run_batch failed with ") + tidegate_status_name(status));
    }
  } catch (...) {
    const Error thrown = current_exception_as(ErrorCode::host_failed);
    left = Error(ErrorCode::host_failed, "the program's run_batch threw: " + std::string(thrown.message()));
  }
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (!batch.answered[i]) items[i].output = left;
  }
}

Result<std::unique_ptr<ModelRunner>> make_host_runner(std::shared_ptr<HostModel> host, const std::string& fingerprint,
                                                      ItemRows rows) {
  CallbackOptions options;
  options.fingerprint = fingerprint;
  options.rows = rows;
  options.run = [host = std::move(host)](std::span<BatchItem> items) { host->run(items); };
  return make_callback_runner(std::move(options));
}

}  // namespace tidegate::capi

using namespace tidegate::capi;  // NOLINT: the C functions below are the API of this namespace

namespace {

/// The item, or nullptr.
BatchItem* item_of(const tidegate_batch* batch, uint32_t item) noexcept {
  return is_live(batch) && item < batch->items.size() ? &batch->items[item] : nullptr;
}

/// The status for a batch or item that is not there.
tidegate_status missing(const tidegate_batch* batch) noexcept {
  const tidegate_status status = status_of(state_of(batch));
  return status == TIDEGATE_OK ? TIDEGATE_E_INVALID : status;
}

}  // namespace

uint32_t tidegate_batch_size(const tidegate_batch* batch) noexcept {
  return is_live(batch) ? static_cast<uint32_t>(batch->items.size()) : 0;
}

const char* tidegate_batch_text(const tidegate_batch* batch, uint32_t item, size_t* length) noexcept {
  if (length != nullptr) *length = 0;
  const BatchItem* const found = item_of(batch, item);
  if (found == nullptr) return nullptr;
  const auto* const text = std::get_if<std::string>(&found->input->input);
  if (text == nullptr) return nullptr;
  if (length != nullptr) *length = text->size();
  return text->c_str();
}

tidegate_status tidegate_batch_tensor(const tidegate_batch* batch, uint32_t item, uint32_t index,
                                      tidegate_tensor_view* view) noexcept {
  return guarded(nullptr, [&]() -> Result<tidegate_status> {
    const BatchItem* const found = item_of(batch, item);
    if (found == nullptr) return missing(batch);
    const auto* const tensors = std::get_if<std::vector<Tensor>>(&found->input->input);
    if (tensors == nullptr || index >= tensors->size()) return TIDEGATE_E_NOT_FOUND;
    if (auto written = write_struct(view, view_of((*tensors)[index]), "view"); !written) return written.error();
    return TIDEGATE_OK;
  });
}

tidegate_status tidegate_batch_answer(tidegate_batch* batch, uint32_t item, const tidegate_tensor_view* outputs,
                                      uint32_t count) noexcept {
  return guarded(nullptr, [&]() -> Result<tidegate_status> {
    BatchItem* const found = item_of(batch, item);
    if (found == nullptr) return missing(batch);
    if (outputs == nullptr || count == 0) return TIDEGATE_E_INVALID;
    // The host's structs lie as far apart as the host knows them large.
    const auto stride = struct_size_of(outputs, "outputs");
    if (!stride) return stride.error();
    std::vector<Tensor> tensors;
    for (uint32_t i = 0; i < count; ++i) {
      const auto* const bytes = reinterpret_cast<const unsigned char*>(outputs) + std::size_t{i} * *stride;
      auto tensor = copy_tensor(reinterpret_cast<const tidegate_tensor_view*>(bytes), "outputs");
      if (!tensor) return tensor.error();
      tensors.push_back(std::move(*tensor));
    }
    found->output = std::move(tensors);
    batch->answered[item] = true;
    return TIDEGATE_OK;
  });
}

tidegate_status tidegate_batch_fail(tidegate_batch* batch, uint32_t item, tidegate_status status, const char* message,
                                    size_t length) noexcept {
  return guarded(nullptr, [&]() -> Result<tidegate_status> {
    BatchItem* const found = item_of(batch, item);
    if (found == nullptr) return missing(batch);
    const auto text = text_argument(message, length, "message");
    if (!text) return text.error();
    const bool known = status < 0 && status >= TIDEGATE_E_STUCK;
    if (status >= 0) return TIDEGATE_E_INVALID;
    found->output = Error(known ? static_cast<ErrorCode>(status) : ErrorCode::host_failed, std::string(*text));
    batch->answered[item] = true;
    return TIDEGATE_OK;
  });
}
