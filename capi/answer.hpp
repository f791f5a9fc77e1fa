// tidegate_result: the answer of a request, and its place in a completion queue.
#pragma once

#include <memory>

#include "boundary.hpp"
#include "tidegate/cq.h"
#include "tidegate/request.hpp"

namespace tidegate::capi {
class StreamNotice;
}

/// Made when a request is submitted, so that completing it needs no memory: it
/// travels through the completion queue as a list node and is handed to the host as
/// the result.
struct tidegate_result : tidegate::capi::Handle<0x54477273> {
  tidegate_result() = default;
  explicit tidegate_result(tidegate::Response answer) : response(std::move(answer)) {}
  ~tidegate_result() { tidegate_error_release(error); }

  tidegate::Response response{};
  tidegate_status status = TIDEGATE_OK;
  tidegate_error* error = nullptr;  // owned; set if status is negative
  std::uint64_t id = 0;
  std::uint64_t tag = 0;
  std::int64_t done_ns = 0;
  // Of a record that says that a stream has something: where it goes when it has been drained.
  std::shared_ptr<tidegate::capi::StreamNotice> notice{};
  std::unique_ptr<tidegate_result> next{};  // owned by the completion queue's list
};

namespace tidegate::capi {

using Answer = std::unique_ptr<tidegate_result>;

}  // namespace tidegate::capi
