// The C functions of completion queues.
#include "tidegate/cq.h"

#include <cstring>
#include <optional>

#include "arguments.hpp"
#include "runtime.hpp"
#include "stream_notice.hpp"

using namespace tidegate::capi;  // NOLINT: the C functions below are the API of this namespace
using tidegate::Error;
using tidegate::ErrorCode;
using tidegate::Result;

namespace {

static_assert(sizeof(tidegate_completion) == 64, "the record of ABI 1.0 has 64 bytes");

/// Moves an ended request, or word from a stream, into a record of the host's. Empty: of a released stream.
std::optional<tidegate_completion> record_of(Answer answer) noexcept {
  tidegate_completion record{};
  if (const auto notice = std::exchange(answer->notice, nullptr)) {
    record.tag = answer->tag;
    record.kind = TIDEGATE_COMPLETION_STREAM;
    record.done_ns = answer->done_ns;
    if (!notice->take_back(std::move(answer))) return std::nullopt;
    return record;
  }
  record.tag = answer->tag;
  record.id = answer->id;
  record.kind = TIDEGATE_COMPLETION_INFER;
  record.status = answer->status;
  record.done_ns = answer->done_ns;
  if (answer->status == TIDEGATE_OK) {
    record.result = answer.release();
  } else {
    record.error = std::exchange(answer->error, nullptr);
  }
  return record;
}

}  // namespace

tidegate_status tidegate_cq_create(tidegate_runtime* runtime, tidegate_cq** cq, tidegate_error** err) noexcept {
  return guarded(err, [&]() -> Result<void> {
    if (auto ok = check_output(cq, "cq"); !ok) return ok;
    if (auto ok = check(runtime, "runtime"); !ok) return ok;
    auto queue = CompletionQueue::create();
    if (!queue) return queue.error();
    *cq = new tidegate_cq(runtime->runtime, std::move(*queue));
    return {};
  });
}

int32_t tidegate_cq_fd(const tidegate_cq* cq) noexcept { return is_live(cq) ? cq->queue->descriptor() : -1; }

tidegate_status tidegate_cq_drain(tidegate_cq* cq, tidegate_completion* records, size_t stride, size_t max,
                                  size_t* count) noexcept {
  if (count != nullptr) *count = 0;
  return guarded(nullptr, [&]() -> Result<tidegate_status> {
    if (auto ok = check(cq, "cq"); !ok) return ok.error();
    if (records == nullptr || count == nullptr || max == 0 || stride < sizeof(tidegate_completion)) {
      return Error(ErrorCode::invalid_argument, "drain needs records, a count and the size of a record");
    }
    auto* place = reinterpret_cast<unsigned char*>(records);
    // Once more where all were of released streams: EMPTY means that the queue is.
    while (*count == 0) {
      auto taken = cq->queue->drain(max);
      if (!taken) return taken.error();
      if (*taken == nullptr) return TIDEGATE_EMPTY;
      for (Answer answer = std::move(*taken); answer != nullptr;) {
        Answer next = std::move(answer->next);
        if (const auto record = record_of(std::move(answer))) {
          std::memcpy(place, &*record, sizeof *record);
          std::memset(place + sizeof *record, 0, stride - sizeof *record);
          place += stride;
          ++*count;
        }
        answer = std::move(next);
      }
    }
    return TIDEGATE_OK;
  });
}

tidegate_status tidegate_cq_wait(tidegate_cq* cq, int64_t timeout_ns) noexcept {
  const HandleState state = state_of(cq);
  if (state != HandleState::live) return status_of(state);
  return timeout_ns < 0 ? TIDEGATE_E_INVALID : cq->queue->wait(timeout_ns);
}

tidegate_status tidegate_cq_wakeup(tidegate_cq* cq) noexcept {
  const HandleState state = state_of(cq);
  if (state == HandleState::live) cq->queue->wakeup();
  return status_of(state);
}

tidegate_status tidegate_cq_close(tidegate_cq* cq) noexcept {
  return guarded(nullptr, [&]() -> Result<void> {
    if (auto ok = check(cq, "cq"); !ok) return ok;
    cq->queue->close();
    for (const auto& stream : cq->runtime->streams().of(cq->queue.get())) stream->cancel();
    auto engine = cq->runtime->use();
    if (!engine) return {};  // after shutdown nothing is in flight
    for (const std::uint64_t id : cq->runtime->requests()->ids(cq->queue.get())) {
      (void)cq->runtime->cancel(**engine, id);
    }
    return {};
  });
}

void tidegate_cq_release(tidegate_cq* cq) noexcept {
  if (!is_live(cq)) return;
  (void)tidegate_cq_close(cq);
  cq->queue->abandon();
  delete cq;
}
