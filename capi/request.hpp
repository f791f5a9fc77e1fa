// tidegate_request: an input and options on their way to the engine.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "runtime.hpp"
#include "tidegate/request.h"
#include "tidegate/request.hpp"

namespace tidegate::capi {

/// A host's options; the names are copies.
struct HostOptions {
  tidegate_request_options given{};
  std::string tenant{};
  std::string ordering_key{};
  std::string cache_tag{};
  std::string similar_within{};
};

/// The same for the engine; a time-out counts from now.
[[nodiscard]] RequestOptions engine_options(const HostOptions& wishes, const Clock& clock);

}  // namespace tidegate::capi

struct tidegate_announcement : tidegate::capi::Handle<0x5447616e> {
  explicit tidegate_announcement(std::shared_ptr<tidegate::capi::Runtime> object) : runtime(std::move(object)) {}
  const std::shared_ptr<tidegate::capi::Runtime> runtime;
  tidegate::Announcement announced{};
};

struct tidegate_request : tidegate::capi::Handle<0x54477271> {
  tidegate_request(std::shared_ptr<tidegate::capi::Runtime> object, std::string model_name)
      : runtime(std::move(object)), model(std::move(model_name)) {}

  /// Errors: invalid_argument (nothing set, or a gap between tensors).
  [[nodiscard]] tidegate::Result<tidegate::Input> input() const;

  const std::shared_ptr<tidegate::capi::Runtime> runtime;
  const std::string model;
  tidegate::capi::HostOptions options{};
  bool has_text = false;
  std::string text{};
  std::vector<std::optional<tidegate::Tensor>> tensors{};
};
