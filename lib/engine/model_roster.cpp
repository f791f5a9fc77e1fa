#include "engine/model_roster.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/try.hpp"

namespace tidegate {
namespace {

constexpr std::size_t kMostModels = 1ULL << (64 - WaiterTable::kHandleBits);

/// What the callers who have found a version share. The last of them closes it.
struct Entrance {
  std::shared_ptr<Pipeline> pipeline;
  UniqueFunction<void()> on_left{};

  ~Entrance() {
    if (on_left) on_left();
  }
};

}  // namespace

Result<ModelRoster::Found> ModelRoster::find(std::string_view name) const {
  MutexLock lock(mutex_);
  std::size_t current = 0;
  std::size_t only = 0;
  for (std::size_t i = 0; i < models_.size(); ++i) {
    if (models_[i].entrance == nullptr) continue;
    if (models_[i].pipeline->name() == name) return Found{i, models_[i].entrance};
    ++current;
    only = i;
  }
  if (name.empty() && current == 1) return Found{only, models_[only].entrance};
  if (current == 0) return Error(ErrorCode::not_found, "the engine serves no model yet; add one with add_model");
  if (name.empty()) return Error(ErrorCode::not_found, "the engine serves several models; name one");
  return Error(ErrorCode::not_found, fmt::format("the engine serves no model '{}'", name));
}

Result<void> ModelRoster::add(Model model) {
  MutexLock lock(mutex_);
  const std::string& name = model.pipeline->name();
  for (const Model& other : models_) {
    if (other.entrance != nullptr && other.pipeline->name() == name) {
      return Error(ErrorCode::already_exists, fmt::format("the engine serves a model '{}' already", name));
    }
  }
  return place(std::move(model));
}

Result<std::shared_ptr<Pipeline>> ModelRoster::replace(Model model) {
  MutexLock lock(mutex_);
  const std::string name = model.pipeline->name();
  std::size_t i = 0;
  while (i < models_.size() && (models_[i].entrance == nullptr || models_[i].pipeline->name() != name)) ++i;
  if (i == models_.size()) {
    return Error(ErrorCode::not_found, fmt::format("the engine serves no model '{}' that could be replaced", name));
  }
  auto noted = std::find_if(departed_.begin(), departed_.end(), [&](const Departed& one) { return one.name == name; });
  if (noted == departed_.end()) departed_.push_back({name});
  model.pipeline->follow(*models_[i].pipeline);
  TIDEGATE_CHECK(place(std::move(model)));
  return std::move(models_[i].entrance);
}

/// In a vacant place, or in a new one.
Result<void> ModelRoster::place(Model&& model) {
  if (models_.size() < kMostModels) models_.reserve(models_.size() + 1);
  auto entrance = std::make_shared<Entrance>();
  entrance->pipeline = model.pipeline;
  entrance->on_left = [weak = weak_from_this(), pipeline = std::weak_ptr(model.pipeline)] {
    const auto roster = weak.lock();
    const auto left = pipeline.lock();
    if (roster != nullptr && left != nullptr) roster->depart(left);
  };
  model.entrance = std::shared_ptr<Pipeline>(entrance, entrance->pipeline.get());
  for (Model& vacant : models_) {
    if (vacant.pipeline != nullptr) continue;
    model.pipeline->number_requests_from(vacant.next_generation);
    vacant = std::move(model);
    return {};
  }
  if (models_.size() == kMostModels) {
    entrance->on_left = nullptr;
    return Error(ErrorCode::queue_full, fmt::format("an engine serves at most {} models", kMostModels));
  }
  models_.push_back(std::move(model));
  return {};
}

/// Nobody can reach the version any more: it finishes what it has, then it goes. Where there is no
/// memory to arrange that, it stays until the engine's end.
void ModelRoster::depart(const std::shared_ptr<Pipeline>& pipeline) noexcept {
  if (ended_) return;
  pipeline->close();
  try {
    pipeline->on_idle([weak = weak_from_this(), services = services_, one = std::weak_ptr(pipeline)] {
      try {
        services->completions->post([weak, visits = services->visits, one] {
          const Visits::Visit visit(*visits);
          const auto roster = weak.lock();
          const auto idle = one.lock();
          if (roster != nullptr && idle != nullptr) roster->remove(idle.get());
        });
      } catch (...) {
        // As above.
      }
    });
  } catch (...) {
    // As above.
  }
}

void ModelRoster::remove(const Pipeline* pipeline) noexcept {
  Model gone;
  {
    const SchedulerStats stats = pipeline->stats();
    const std::uint32_t next_generation = pipeline->next_generation();
    MutexLock lock(mutex_);
    const auto place =
        std::find_if(models_.begin(), models_.end(), [&](const Model& one) { return one.pipeline.get() == pipeline; });
    if (place == models_.end()) return;
    for (Departed& one : departed_) {
      if (one.name != pipeline->name()) continue;
      one.stats.answered += stats.answered;
      one.stats.joined += stats.joined;
      one.stats.batches += stats.batches;
      one.stats.wasted_items += stats.wasted_items;
    }
    gone = std::exchange(*place, Model{});
    place->next_generation = next_generation;
  }
  // Idle: its threads end at once. The one of its last batch may still hold the version.
  if (gone.workers != nullptr) gone.workers->stop(Duration::max());
  gone.pipeline->keep_speed();
}

std::vector<ModelRoster::Departed> ModelRoster::departed() const {
  MutexLock lock(mutex_);
  return departed_;
}

std::uint64_t ModelRoster::departed_answers() const noexcept {
  MutexLock lock(mutex_);
  std::uint64_t sum = 0;
  for (const Departed& one : departed_) sum += one.stats.answered;
  return sum;
}

std::size_t ModelRoster::size() const noexcept {
  MutexLock lock(mutex_);
  return models_.size();
}

std::shared_ptr<Pipeline> ModelRoster::pipeline(std::size_t i) const noexcept {
  MutexLock lock(mutex_);
  return i < models_.size() ? models_[i].pipeline : nullptr;
}

std::shared_ptr<ThreadPool> ModelRoster::workers(std::size_t i) const noexcept {
  MutexLock lock(mutex_);
  return i < models_.size() ? models_[i].workers : nullptr;
}

std::vector<ModelRoster::Model> ModelRoster::take_all() noexcept {
  std::vector<Model> all;
  ended_ = true;
  MutexLock lock(mutex_);
  all.swap(models_);
  return all;
}

}  // namespace tidegate
