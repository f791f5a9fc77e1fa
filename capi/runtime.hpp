// Runtime: the engine behind a tidegate_runtime and everything that refers to it.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <utility>

#include "boundary.hpp"
#include "mutex.hpp"
#include "request_table.hpp"
#include "stream_roster.hpp"
#include "tidegate/config.hpp"
#include "tidegate/model.h"

namespace tidegate::capi {

/// Thread-safe. Lock: mutex_ is a leaf; the engine is never called under it.
class Runtime {
 public:
  /// How long a use of the engine may be.
  enum class Span : std::uint8_t {
    brief,  ///< shutdown waits for it
    batch,  ///< it may run a batch itself: shutdown waits for it, unless that batch hangs
    work,   ///< it may wait for a model, a tier or the disk: shutdown waits for it up to its bound
  };

  /// How a shutdown ended.
  struct Ending {
    std::optional<DrainReport> drained{};  ///< nullopt: the engine had ended before
    std::uint32_t at_work = 0;             ///< uses of Span::work that the bound has cut off
  };

  /// Use of the engine: it is not ended while one exists.
  class Use {
   public:
    Use(Runtime& runtime, Engine& engine, Span span) noexcept : runtime_(&runtime), engine_(&engine), span_(span) {}
    Use(Use&& other) noexcept
        : runtime_(std::exchange(other.runtime_, nullptr)), engine_(other.engine_), span_(other.span_) {}
    Use& operator=(Use&&) = delete;
    ~Use() {
      if (runtime_ != nullptr) runtime_->end_use(span_);
    }
    Engine& operator*() const noexcept { return *engine_; }
    Engine* operator->() const noexcept { return engine_; }

   private:
    Runtime* runtime_;
    Engine* engine_;
    Span span_;
  };

  /// Blocks while models load. Errors: as create_engine.
  [[nodiscard]] static Result<std::shared_ptr<Runtime>> create(const EngineConfig& config);

  Runtime(std::unique_ptr<Engine> engine, std::shared_ptr<Clock> clock);
  /// Without shutdown before: cancels what is in flight and ends the engine on a
  /// thread of its own, so that whoever drops the last reference does not wait.
  ~Runtime();

  /// Errors: shutting_down (after shutdown).
  [[nodiscard]] Result<Use> use(Span span = Span::brief);

  /// nullopt: the engine has ended.
  [[nodiscard]] std::optional<DrainReport> drain(Duration bound);
  /// An engine in use beyond the bound ends where the last use does.
  [[nodiscard]] Ending shutdown(Duration bound);

  [[nodiscard]] Clock& clock() const noexcept { return *clock_; }
  [[nodiscard]] const std::shared_ptr<Clock>& shared_clock() const noexcept { return clock_; }
  [[nodiscard]] const std::shared_ptr<RequestTable>& requests() const noexcept { return requests_; }

  [[nodiscard]] StreamRoster& streams() noexcept { return streams_; }

  /// Passes a cancel on. False: `id` is not in flight.
  [[nodiscard]] bool cancel(Engine& engine, std::uint64_t id);

 private:
  void end_use(Span span) noexcept;
  [[nodiscard]] std::uint32_t& uses(Span span) noexcept TIDEGATE_REQUIRES(mutex_) {
    return uses_[static_cast<std::size_t>(span)];
  }
  [[nodiscard]] bool in_use() const noexcept TIDEGATE_REQUIRES(mutex_) { return uses_[0] + uses_[1] + uses_[2] > 0; }

  const std::shared_ptr<Clock> clock_;
  const std::shared_ptr<RequestTable> requests_;
  StreamRoster streams_{};
  Mutex mutex_;
  std::condition_variable unused_{};                                    // a use has ended since ending_
  std::unique_ptr<Engine> engine_ TIDEGATE_GUARDED_BY(mutex_);          // empty after shutdown
  std::array<std::uint32_t, 3> uses_ TIDEGATE_GUARDED_BY(mutex_) = {};  // by Span
  std::uint32_t shutdowns_ TIDEGATE_GUARDED_BY(mutex_) = 0;  // that wait; without one the last use ends the engine
  bool ending_ TIDEGATE_GUARDED_BY(mutex_) = false;          // no further use may begin
};

/// Blocks all signals of this thread for a scope, so that threads started in it
/// never run a handler of the host's.
class SignalsBlocked {
 public:
  SignalsBlocked() noexcept;
  ~SignalsBlocked();
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  alignas(8) unsigned char before_[128];  // a sigset_t
};

/// A time-out of the C ABI as a Duration that can be added to a moment of this
/// century. Errors: invalid_argument (negative).
[[nodiscard]] Result<Duration> duration_argument(std::int64_t nanoseconds);

}  // namespace tidegate::capi

struct tidegate_runtime : tidegate::capi::SharedHandle<0x54477274> {
  explicit tidegate_runtime(std::shared_ptr<tidegate::capi::Runtime> object) : runtime(std::move(object)) {}
  const std::shared_ptr<tidegate::capi::Runtime> runtime;
};

struct tidegate_model : tidegate::capi::SharedHandle<0x54476d6f> {
  tidegate_model(std::shared_ptr<tidegate::capi::Runtime> object, std::string model_name)
      : runtime(std::move(object)), name(std::move(model_name)) {}
  const std::shared_ptr<tidegate::capi::Runtime> runtime;
  const std::string name;
};

struct tidegate_cq : tidegate::capi::Handle<0x54476371> {
  tidegate_cq(std::shared_ptr<tidegate::capi::Runtime> object, std::shared_ptr<tidegate::capi::CompletionQueue> records)
      : runtime(std::move(object)), queue(std::move(records)) {}
  const std::shared_ptr<tidegate::capi::Runtime> runtime;
  const std::shared_ptr<tidegate::capi::CompletionQueue> queue;
};
