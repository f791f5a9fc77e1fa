#include "host_model.hpp"

#include <utility>

#include "arguments.hpp"
#include "boundary.hpp"
#include "tensor_view.hpp"

using tidegate::BatchItem;
using tidegate::Error;
using tidegate::ErrorCode;
using tidegate::Result;
using tidegate::StepEnd;
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
  tidegate_batch batch(items, *this);
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

/// A state of the host's; the table stays as long as one of them.
struct HostModel::KeptState {
  explicit KeptState(std::shared_ptr<const HostModel> model) noexcept : host(std::move(model)) {}
  ~KeptState() {
    const tidegate_backend& table = host->table_;
    if (state == nullptr || table.release_state == nullptr) return;
    try {
      table.release_state(table.ctx, state);
    } catch (...) {
      // As in ~HostModel.
    }
  }
  KeptState(const KeptState&) = delete;
  KeptState& operator=(const KeptState&) = delete;

  const std::shared_ptr<const HostModel> host;
  void* state = nullptr;
};

std::shared_ptr<void> HostModel::keep(void* state) const {
  if (state == nullptr) return nullptr;
  auto kept = std::make_shared<KeptState>(shared_from_this());
  kept->state = state;  // from here on its owner
  return {kept, state};
}

Result<std::unique_ptr<ModelRunner>> make_host_runner(std::shared_ptr<HostModel> host, const std::string& fingerprint,
                                                      ItemRows rows) {
  CallbackOptions options;
  options.fingerprint = fingerprint;
  options.rows = rows;
  options.iterative = host->iterative();
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

Error not_iterative() { return Error(ErrorCode::unsupported, "the model is not iterative"); }

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
    if (outputs == nullptr && count > 0) return TIDEGATE_E_INVALID;
    if (count == 0 && !batch->model.iterative()) return TIDEGATE_E_INVALID;
    auto tensors = copy_tensors(outputs, count, "outputs");
    if (!tensors) return tensors.error();
    found->output = *std::move(tensors);
    found->step = StepEnd::done;
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
    found->step = StepEnd::done;
    found->output = Error(known ? static_cast<ErrorCode>(status) : ErrorCode::host_failed, std::string(*text));
    batch->answered[item] = true;
    return TIDEGATE_OK;
  });
}

void* tidegate_batch_state(const tidegate_batch* batch, uint32_t item) noexcept {
  const BatchItem* const found = item_of(batch, item);
  return found != nullptr ? found->state.get() : nullptr;
}

tidegate_status tidegate_batch_emit(tidegate_batch* batch, uint32_t item, const tidegate_tensor_view* chunk,
                                    uint32_t count) noexcept {
  return guarded(nullptr, [&]() -> Result<tidegate_status> {
    BatchItem* const found = item_of(batch, item);
    if (found == nullptr) return missing(batch);
    if (!batch->model.iterative()) return not_iterative();
    if (chunk == nullptr || count == 0) return TIDEGATE_E_INVALID;
    auto tensors = copy_tensors(chunk, count, "chunk");
    if (!tensors) return tensors.error();
    found->emitted = *std::move(tensors);
    return TIDEGATE_OK;
  });
}

tidegate_status tidegate_batch_proceed(tidegate_batch* batch, uint32_t item, void* state,
                                       const tidegate_step_size* next) noexcept {
  return guarded(nullptr, [&]() -> Result<tidegate_status> {
    BatchItem* const found = item_of(batch, item);
    if (found == nullptr) return missing(batch);
    if (!batch->model.iterative()) return not_iterative();
    tidegate_step_size size{};
    if (next != nullptr) {
      const auto known = read_struct(next, "next");
      if (!known) return known.error();
      size = *known;
    }
    if (state != found->state.get()) found->state = batch->model.keep(state);
    found->next_size = {};
    if (size.rows != 0) found->next_size.rows = size.rows;
    if (size.tokens != 0) found->next_size.tokens = size.tokens;
    found->step = StepEnd::proceeds;
    batch->answered[item] = true;
    return TIDEGATE_OK;
  });
}
