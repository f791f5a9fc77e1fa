// HostModel: a model whose batches run in a function of the host's.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "handle.hpp"
#include "tidegate/model.h"
#include "tidegate/runner.hpp"

/// A batch as the host sees it; lives on the stack of one run.
struct tidegate_batch : tidegate::capi::Handle<0x54476274> {
  explicit tidegate_batch(std::span<tidegate::BatchItem> batch) : items(batch), answered(batch.size()) {}

  std::span<tidegate::BatchItem> items;
  std::vector<bool> answered;  // answered or failed by the host
};

namespace tidegate::capi {

/// The host's table. Calls destroy(ctx) once, when the last runner that uses it is
/// gone, provided that own() was called.
class HostModel {
 public:
  explicit HostModel(const tidegate_backend& table) noexcept : table_(table) {}
  ~HostModel();
  HostModel(const HostModel&) = delete;
  HostModel& operator=(const HostModel&) = delete;

  /// From now on ctx belongs to this object. Called once, before the host's call that
  /// registered the model returns.
  void own() noexcept { owned_.store(true, std::memory_order_release); }

  void run(std::span<BatchItem> items) const;

 private:
  const tidegate_backend table_;
  // Release/acquire: destroy may run on another thread than own.
  std::atomic<bool> owned_{false};
};

[[nodiscard]] Result<std::unique_ptr<ModelRunner>> make_host_runner(std::shared_ptr<HostModel> host,
                                                                    const std::string& fingerprint, ItemRows rows);

}  // namespace tidegate::capi
