// HostModel: a model whose batches run in a function of the host's.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "handle.hpp"
#include "tidegate/model.h"
#include "tidegate/runner.hpp"

namespace tidegate::capi {
class HostModel;
}

/// A batch as the host sees it; lives on the stack of one run.
struct tidegate_batch : tidegate::capi::Handle<0x54476274> {
  tidegate_batch(std::span<tidegate::BatchItem> batch, const tidegate::capi::HostModel& owner)
      : items(batch), answered(batch.size()), model(owner) {}

  std::span<tidegate::BatchItem> items;
  std::vector<bool> answered;  // answered, failed or sent on by the host
  const tidegate::capi::HostModel& model;
};

namespace tidegate::capi {

/// The host's table. Calls destroy(ctx) once, when the last runner that uses it is
/// gone, provided that own() was called.
class HostModel : public std::enable_shared_from_this<HostModel> {
 public:
  explicit HostModel(const tidegate_backend& table) noexcept : table_(table) {}
  ~HostModel();
  HostModel(const HostModel&) = delete;
  HostModel& operator=(const HostModel&) = delete;

  /// From now on ctx belongs to this object. Called once, before the host's call that
  /// registered the model returns.
  void own() noexcept { owned_.store(true, std::memory_order_release); }

  [[nodiscard]] bool iterative() const noexcept { return table_.iterative != 0; }

  /// A state of the host's, released when nobody needs it any more. May throw std::bad_alloc; the state
  /// is the host's then.
  [[nodiscard]] std::shared_ptr<void> keep(void* state) const;

  void run(std::span<BatchItem> items) const;

 private:
  struct KeptState;
  const tidegate_backend table_;
  // Release/acquire: destroy may run on another thread than own.
  std::atomic<bool> owned_{false};
};

[[nodiscard]] Result<std::unique_ptr<ModelRunner>> make_host_runner(std::shared_ptr<HostModel> host,
                                                                    const std::string& fingerprint, ItemRows rows);

}  // namespace tidegate::capi
