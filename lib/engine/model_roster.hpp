// ModelRoster: the models of an engine, and the versions of them that are on their way out.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.hpp"
#include "base/thread_pool.hpp"
#include "engine/pipeline.hpp"

namespace tidegate {

/// A place holds one version of a model; its number is the top of a RequestId. A version
/// that was replaced is closed behind the last caller who has found it, keeps its place until
/// it is idle, and is then destroyed on the completion executor. Thread-safe.
class ModelRoster : public std::enable_shared_from_this<ModelRoster> {
 public:
  struct Found {
    std::uint64_t index = 0;
    std::shared_ptr<Pipeline> pipeline;  ///< while it lives the version stays open
  };
  struct Model {
    std::shared_ptr<Pipeline> pipeline;
    std::shared_ptr<ThreadPool> workers;   ///< null if the user supplied an executor
    std::shared_ptr<Pipeline> entrance{};  ///< null once replaced; owns what closes the version
    std::uint32_t next_generation = 0;     ///< of the request slots, once the place is vacant
  };
  /// What versions that are gone have counted under one name.
  struct Departed {
    std::string name;
    SchedulerStats stats{};
  };

  explicit ModelRoster(std::shared_ptr<Services> services) : services_(std::move(services)) {}

  // May throw std::bad_alloc.

  /// Empty name = the only model. Errors: not_found.
  [[nodiscard]] Result<Found> find(std::string_view name) const;
  /// Errors: already_exists, queue_full.
  [[nodiscard]] Result<void> add(Model model);
  /// The version that was current until now; it is closed once the caller lets go of it.
  /// Errors: not_found, queue_full.
  [[nodiscard]] Result<std::shared_ptr<Pipeline>> replace(Model model);
  [[nodiscard]] std::vector<Departed> departed() const;

  // Allocate nothing.

  /// Places, vacant ones included.
  [[nodiscard]] std::size_t size() const noexcept;
  /// nullptr where the place is vacant.
  [[nodiscard]] std::shared_ptr<Pipeline> pipeline(std::size_t i) const noexcept;
  [[nodiscard]] std::shared_ptr<ThreadPool> workers(std::size_t i) const noexcept;
  [[nodiscard]] std::uint64_t departed_answers() const noexcept;
  /// Hands everything over, for the end of the engine. No version departs after it.
  [[nodiscard]] std::vector<Model> take_all() noexcept;

 private:
  [[nodiscard]] Result<void> place(Model&& model) TIDEGATE_REQUIRES(mutex_);
  void depart(const std::shared_ptr<Pipeline>& pipeline) noexcept;
  void remove(const Pipeline* pipeline) noexcept;

  const std::shared_ptr<Services> services_;
  std::atomic<bool> ended_{false};  // what is left goes with the engine
  mutable Mutex mutex_;             // leaf: no pipeline is called under it, but for its name
  std::vector<Model> models_ TIDEGATE_GUARDED_BY(mutex_);
  std::vector<Departed> departed_ TIDEGATE_GUARDED_BY(mutex_);
};

}  // namespace tidegate
