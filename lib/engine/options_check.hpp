// All validation of options, in one place.
#pragma once

#include "tidegate/engine.hpp"

namespace tidegate {

/// Errors: invalid_argument, naming the option, its value and the allowed range.
[[nodiscard]] Result<void> check_options(const EngineOptions& options);
[[nodiscard]] Result<void> check_options(const ModelOptions& options);
[[nodiscard]] Result<void> check_options(const ReplicaOptions& options);
[[nodiscard]] Result<void> check_options(const StreamOptions& options);

/// At least one, with runners of one fingerprint. Errors: invalid_argument, naming the model.
[[nodiscard]] Result<void> check_replicas(const std::string& name, const std::vector<Replica>& replicas);
/// Texts are cut to max_tokens: the longest must find room in a batch and in the queue.
[[nodiscard]] Result<void> check_longest_item(const std::string& name, const ModelInfo& info,
                                              const ModelOptions& options, const EngineQueueOptions& caps);

}  // namespace tidegate
