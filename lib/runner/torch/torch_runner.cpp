#include "runner/torch/torch_runner.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string_view>

#include "base/mapped_file.hpp"
#include "base/sha256.hpp"
#include "base/try.hpp"
#include "runner/row_split.hpp"
#include "runner/torch/torch_call.hpp"

namespace tidegate {
namespace {

constexpr std::uint32_t kMaxThreads = 256;
constexpr std::size_t kMaxFileBytes = std::size_t{1} << 40;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool is_digest(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

Result<void> check_options(const TorchScriptOptions& options, std::string_view sha256) {
  if (options.file.empty()) return Error(ErrorCode::invalid_argument, "TorchScriptOptions.file is empty");
  if (!is_digest(sha256)) {
    return Error(ErrorCode::invalid_argument,
                 "TorchScriptOptions.sha256 must be the file's SHA-256 as 64 hex digits: a TorchScript file is code, "
                 "and only the one you name is loaded");
  }
  if (options.threads < 1 || options.threads > kMaxThreads) {
    return Error(ErrorCode::invalid_argument, fmt::format("TorchScriptOptions.threads is {}, must be between 1 and {}",
                                                          options.threads, kMaxThreads));
  }
  return {};
}

Result<std::string> read_verified(const std::string& file, std::string_view sha256) {
  TIDEGATE_TRY(std::string bytes, read_text_file(file, kMaxFileBytes));
  const std::string found = to_hex(Sha256().update(bytes).finish());
  if (found == sha256) return bytes;
  return Error(
      ErrorCode::corrupt_data,
      fmt::format("'{}' has SHA-256 {}, expected {}: it is not the file that was approved, so it was not loaded", file,
                  found, sha256));
}

ModelInfo describe(std::string_view sha256, std::uint32_t threads, ItemRows rows) {
  ModelInfo info;
  info.kind = "torchscript";
  info.deterministic = false;
  Sha256 hash;
  hash.update_field("torchscript 1").update_field(sha256);
  std::string versions;
  for (const auto& [name, value] : torch_facts()) {
    hash.update_field(value);
    versions += fmt::format("{} {}, ", name, value);
  }
  if (rows == ItemRows::leading) hash.update_field("leading rows");
  info.fingerprint = hash.finish();
  info.threads = threads;
  info.notes = {fmt::format("{}{} intra-op thread{}", versions, threads, threads == 1 ? "" : "s"),
                "answers are neither cached nor joined: their bits may depend on the batch"};
  return info;
}

/// Equal for items that can be stacked.
std::vector<std::int64_t> signature_of(const std::vector<Tensor>& tensors, ItemRows rows) {
  std::vector<std::int64_t> signature;
  for (const Tensor& tensor : tensors) {
    signature.push_back(static_cast<std::int64_t>(tensor.type()));
    signature.push_back(static_cast<std::int64_t>(tensor.shape().size()));
    const auto own = tensor.shape().begin() + (rows == ItemRows::leading && !tensor.shape().empty() ? 1 : 0);
    signature.insert(signature.end(), own, tensor.shape().end());
  }
  return signature;
}

bool has_wrong_boolean(const Tensor& tensor) {
  if (tensor.type() != DataType::boolean) return false;
  return std::ranges::any_of(tensor.as<std::uint8_t>(), [](std::uint8_t byte) { return byte > 1; });
}

}  // namespace

Result<std::unique_ptr<ModelRunner>> TorchRunner::create(const TorchScriptOptions& options) {
  return torch_call(
      "the TorchScript file cannot be loaded", ErrorCode::internal, [&]() -> Result<std::unique_ptr<ModelRunner>> {
        std::string sha256 = options.sha256;
        std::ranges::transform(sha256, sha256.begin(), lower);
        TIDEGATE_CHECK(check_options(options, sha256));
        TIDEGATE_TRY(std::string bytes, read_verified(options.file, sha256));
        auto model = TorchModel::load(std::move(bytes), options.threads);
        if (!model) {
          return Error(model.error().code(), fmt::format("'{}': {}", options.file, model.error().message()));
        }
        return std::unique_ptr<ModelRunner>(std::make_unique<TorchRunner>(
            *std::move(model), describe(sha256, options.threads, options.rows), options.rows));
      });
}

Result<PreparedInput> TorchRunner::prepare(Input input) {
  const auto* tensors = std::get_if<std::vector<Tensor>>(&input);
  if (tensors == nullptr) {
    return Error(ErrorCode::invalid_argument, "this model takes tensors, not text: it is a TorchScript file");
  }
  const std::size_t least = model_->least_arguments();
  const std::size_t most = model_->most_arguments();
  if (tensors->size() < least || tensors->size() > most) {
    return Error(ErrorCode::invalid_argument, fmt::format("the model's forward takes {} to {} tensors, {} were given",
                                                          least, most, tensors->size()));
  }
  PreparedInput prepared;
  for (std::size_t i = 0; i < tensors->size(); ++i) {
    const Tensor& tensor = (*tensors)[i];
    if (has_wrong_boolean(tensor)) {
      return Error(ErrorCode::invalid_argument, fmt::format("tensor {} is boolean but holds bytes above 1", i));
    }
    prepared.size.bytes += tensor.bytes().size();
    if (tensor.shape().empty()) continue;
    prepared.size.tokens = std::max(prepared.size.tokens, static_cast<std::uint64_t>(tensor.shape().front()));
  }
  // Tensors of other types or dimensions are another forward call: they gain nothing together.
  std::uint64_t signature = 0;
  for (const std::int64_t one : signature_of(*tensors, rows_)) {
    signature = (signature ^ static_cast<std::uint64_t>(one)) * 0x9E3779B97F4A7C15ULL;
    signature ^= signature >> 32U;
  }
  prepared.signature = signature;
  if (rows_ == ItemRows::leading) {
    TIDEGATE_TRY(const std::uint32_t rows, leading_rows(input));
    prepared.size = row_size(input, rows);
  }
  prepared.input = std::move(input);
  return prepared;
}

Result<std::vector<PreparedInput>> TorchRunner::split(const PreparedInput& input, const ItemSize& limit) {
  if (rows_ == ItemRows::one) return ModelRunner::split(input, limit);
  return split_rows(input, limit, [](const Input& part) -> Result<ItemSize> {
    TIDEGATE_TRY(const std::uint32_t rows, leading_rows(part));
    return row_size(part, rows);
  });
}

Result<std::vector<Tensor>> TorchRunner::join(std::vector<std::vector<Tensor>> parts) { return join_rows(parts); }

void TorchRunner::run(std::span<BatchItem> batch) {
  std::map<std::vector<std::int64_t>, std::vector<std::size_t>> groups;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const auto* tensors = std::get_if<std::vector<Tensor>>(&batch[i].input->input);
    if (tensors == nullptr) {
      batch[i].output = Error(ErrorCode::invalid_argument, "this model takes tensors, not text");
      continue;
    }
    groups[signature_of(*tensors, rows_)].push_back(i);
  }
  for (const auto& [signature, group] : groups) run_group(batch, group);
}

void TorchRunner::run_group(std::span<BatchItem> batch, std::span<const std::size_t> group) {
  std::vector<const std::vector<Tensor>*> inputs;
  for (const std::size_t i : group) inputs.push_back(&std::get<std::vector<Tensor>>(batch[i].input->input));
  auto answers = model_->forward(inputs, rows_);
  if (answers) {
    for (std::size_t i = 0; i < group.size(); ++i) batch[group[i]].output = std::move((*answers)[i]);
    return;
  }
  // What a model answers does not become supported in a smaller batch.
  const bool can_isolate = group.size() > 1 && answers.error().code() != ErrorCode::unsupported;
  for (std::size_t i = 0; i < group.size(); ++i) {
    if (can_isolate) {
      run_group(batch, group.subspan(i, 1));
    } else {
      batch[group[i]].output = answers.error();
    }
  }
}

}  // namespace tidegate
