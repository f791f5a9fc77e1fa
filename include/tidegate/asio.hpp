// async_infer: Engine::infer for Boost.Asio - callbacks, futures, co_await.
// The only public header that includes Boost; opt-in.
#pragma once

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/system_executor.hpp>
#include <mutex>

#include "tidegate/engine.hpp"

namespace tidegate {
namespace detail {

/// Lets a cancellation that comes before the id is known take effect after it.
class CancelOnceKnown {
 public:
  explicit CancelOnceKnown(Engine& engine) : engine_(engine) {}

  void cancel() {
    std::optional<RequestId> id;
    {
      const std::lock_guard lock(mutex_);
      wanted_ = true;
      id = id_;
    }
    if (id) engine_.cancel(*id);
  }
  void known(RequestId id) {
    {
      const std::lock_guard lock(mutex_);
      id_ = id;
      if (!wanted_) return;
    }
    engine_.cancel(id);
  }

 private:
  Engine& engine_;
  std::mutex mutex_;  // guards the two below; leaf
  bool wanted_ = false;
  std::optional<RequestId> id_;
};

struct StartInfer {
  Engine& engine;

  template <class Handler>
  void operator()(Handler handler, Request request) const {
    auto executor = boost::asio::get_associated_executor(handler, boost::asio::system_executor());
    auto slot = boost::asio::get_associated_cancellation_slot(handler);
    std::shared_ptr<CancelOnceKnown> cancellation;
    if (slot.is_connected()) {
      cancellation = std::make_shared<CancelOnceKnown>(engine);
      slot.assign([cancellation](boost::asio::cancellation_type type) {
        if (type != boost::asio::cancellation_type::none) cancellation->cancel();
      });
    }
    // Shared because a refusal must reach the handler too, and infer destroys its callback then.
    auto pending = std::make_shared<Handler>(std::move(handler));
    const auto finish = [pending, slot, executor,
                         work = boost::asio::make_work_guard(executor)](Result<Response> result) mutable {
      boost::asio::post(executor, [pending, slot, work, result = std::move(result)]() mutable {
        if (slot.is_connected()) slot.clear();
        Handler last = std::move(*pending);
        pending.reset();
        last(std::move(result));
      });
    };
    auto accepted = engine.infer(std::move(request), finish);
    if (!accepted) {
      auto refuse = finish;
      refuse(std::move(accepted).error());
    } else if (cancellation != nullptr) {
      cancellation->known(*accepted);
    }
  }
};

}  // namespace detail

/// Starts a request and completes `token` with Result<Response>: signature
/// void(Result<Response>), so `co_await async_infer(engine, request, use_awaitable)`
/// answers a Result and never throws on a refusal. Completes through the handler's
/// associated executor, never inside this call. Any cancellation type of the
/// handler's slot cancels the request, which then completes with `cancelled`. The
/// engine must outlive the completion. With RequestOptions::admit_until this call may block, as Engine::infer does.
template <class CompletionToken>
auto async_infer(Engine& engine, Request request, CompletionToken&& token) {
  return boost::asio::async_initiate<CompletionToken, void(Result<Response>)>(detail::StartInfer{engine}, token,
                                                                              std::move(request));
}

}  // namespace tidegate
