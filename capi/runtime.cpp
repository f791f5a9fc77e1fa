#include "runtime.hpp"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <limits>
#include <thread>

#include "arguments.hpp"
#include "settings.hpp"
#include "tidegate/runtime.h"

namespace tidegate::capi {
namespace {

/// For callers of tidegate_infer that have been told off, while a batch hangs.
constexpr Duration kGrace = std::chrono::milliseconds(20);

/// Destroys an engine on a thread of its own. Where no thread can be started the
/// engine is leaked: waiting for it here could wait for the caller itself.
void end_in_background(std::unique_ptr<Engine> engine) noexcept {
  Engine* const ending = engine.release();
  try {
    const SignalsBlocked blocked;
    std::thread([ending] { delete ending; }).detach();
  } catch (...) {
  }
}

}  // namespace

SignalsBlocked::SignalsBlocked() noexcept {
  static_assert(sizeof(sigset_t) <= sizeof before_);
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::memcpy(before_, &before, sizeof before);
}

SignalsBlocked::~SignalsBlocked() {
  sigset_t before;
  std::memcpy(&before, before_, sizeof before);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Result<Duration> duration_argument(std::int64_t nanoseconds) {
  constexpr Duration kLongest = std::chrono::hours(24 * 366);
  if (nanoseconds < 0) return Error(ErrorCode::invalid_argument, "a time-out is negative");
  const Duration given(nanoseconds);
  return given < kLongest ? given : kLongest;
}

Result<std::shared_ptr<Runtime>> Runtime::create(const EngineConfig& config) {
  const SignalsBlocked blocked;
  EngineConfig own = config;
  own.engine.clock = make_steady_clock();
  // The clock's thread starts with its first alarm: now, while signals are blocked.
  own.engine.clock->cancel(own.engine.clock->call_at(own.engine.clock->now() + std::chrono::hours(1), [] {}));
  Result<Engine> engine = create_engine(own);
  if (!engine) return std::move(engine).error();
  return std::make_shared<Runtime>(std::make_unique<Engine>(std::move(*engine)), own.engine.clock);
}

Runtime::Runtime(std::unique_ptr<Engine> engine, std::shared_ptr<Clock> clock)
    : clock_(std::move(clock)), requests_(std::make_shared<RequestTable>()), engine_(std::move(engine)) {}

Runtime::~Runtime() {
  if (engine_ == nullptr) return;
  try {
    for (const std::uint64_t id : requests_->ids(nullptr)) (void)cancel(*engine_, id);
  } catch (...) {
    // Without memory for the list the requests run to their end.
  }
  end_in_background(std::move(engine_));
}

Result<Runtime::Use> Runtime::use(Span span) {
  const MutexLock lock(mutex_);
  if (ending_) return Error(ErrorCode::shutting_down, "the runtime has been shut down");
  ++uses(span);
  return Use(*this, *engine_, span);
}

void Runtime::end_use(Span span) noexcept {
  std::unique_ptr<Engine> ended;
  const MutexLock lock(mutex_);
  --uses(span);
  if (!ending_) return;
  if (shutdowns_ == 0 && !in_use()) ended = std::move(engine_);
  unused_.notify_all();
}

std::optional<DrainReport> Runtime::drain(Duration bound) {
  Result<Use> engine = use(Span::work);
  if (!engine) return std::nullopt;
  return (*engine)->drain(bound);
}

Runtime::Ending Runtime::shutdown(Duration bound) {
  const TimePoint start = clock_->now();
  Ending ending{drain(bound)};
  const Duration left = std::max(Duration::zero(), bound - (clock_->now() - start));
  // The drain has told every caller off: those who are in no batch that hangs are on their way out.
  const std::uint32_t hung = ending.drained ? ending.drained->stuck_batches : std::numeric_limits<std::uint32_t>::max();
  std::unique_ptr<Engine> ended;
  {
    MutexLock lock(mutex_);
    ending_ = true;
    ++shutdowns_;
    while (uses(Span::brief) > 0 || uses(Span::batch) > hung) lock.wait(unused_);
    // Who of the callers is in a batch that hangs is not known: a moment for the others.
    const Duration patience = uses(Span::batch) > 0 ? std::max(left, kGrace) : left;
    const bool unused = lock.wait_for(unused_, patience, [this]() TIDEGATE_REQUIRES(mutex_) { return !in_use(); });
    if (unused) ended = std::move(engine_);
    ending.at_work = uses(Span::work);
    --shutdowns_;
  }
  return ending;
}

bool Runtime::cancel(Engine& engine, std::uint64_t id) {
  const RequestTable::CancelTarget target = requests_->cancel(id);
  if (target.engine_id) (void)engine.cancel(*target.engine_id);
  return target.known;
}

namespace {

/// What the C ABI answers for a drain, or for the shutdown that it was part of.
Result<void> judge(const Runtime::Ending& ending) {
  if (!ending.drained) return {};
  const DrainReport& report = *ending.drained;
  const std::uint64_t left = report.failed + report.stuck_batches + ending.at_work;
  if (left == 0) return {};
  std::string text = "the time-out passed with " + std::to_string(report.failed) + " requests unfinished and " +
                     std::to_string(report.stuck_batches) + " batches inside a model";
  if (ending.at_work > 0) {
    text += "; " + std::to_string(ending.at_work) +
            " other calls wait for a model, a cache tier or the disk, and the last of them ends the engine";
  }
  return Error(ErrorCode::deadline_exceeded, std::move(text)).with_numbers(static_cast<std::int64_t>(left), 0);
}

}  // namespace
}  // namespace tidegate::capi

using namespace tidegate::capi;  // NOLINT: the C functions below are the API of this namespace
using tidegate::Result;

tidegate_status tidegate_runtime_create(const tidegate_config* config, tidegate_runtime** runtime,
                                        tidegate_error** err) noexcept {
  return guarded(err, [&]() -> Result<void> {
    if (auto ok = check_output(runtime, "runtime"); !ok) return ok;
    if (config != nullptr) {
      if (auto ok = check(config, "config"); !ok) return ok;
    }
    auto created = Runtime::create(config != nullptr ? config->values : tidegate::EngineConfig{});
    if (!created) return created.error();
    *runtime = new tidegate_runtime(std::move(*created));
    return {};
  });
}

tidegate_runtime* tidegate_runtime_retain(tidegate_runtime* runtime) noexcept {
  if (!is_live(runtime)) return nullptr;
  runtime->retain();
  return runtime;
}

void tidegate_runtime_release(tidegate_runtime* runtime) noexcept {
  if (is_live(runtime) && runtime->release()) delete runtime;
}

tidegate_status tidegate_runtime_drain(tidegate_runtime* runtime, int64_t timeout_ns, tidegate_error** err) noexcept {
  return guarded(err, [&]() -> Result<void> {
    if (auto ok = check(runtime, "runtime"); !ok) return ok;
    const auto bound = duration_argument(timeout_ns);
    if (!bound) return bound.error();
    return judge({runtime->runtime->drain(*bound)});
  });
}

tidegate_status tidegate_runtime_shutdown(tidegate_runtime* runtime, int64_t timeout_ns,
                                          tidegate_error** err) noexcept {
  return guarded(err, [&]() -> Result<void> {
    if (auto ok = check(runtime, "runtime"); !ok) return ok;
    const auto bound = duration_argument(timeout_ns);
    if (!bound) return bound.error();
    return judge(runtime->runtime->shutdown(*bound));
  });
}
