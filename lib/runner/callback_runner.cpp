// The host's own function as a model.
#include <fmt/format.h>

#include <algorithm>
#include <exception>

#include "base/sha256.hpp"
#include "base/try.hpp"
#include "runner/plain_input.hpp"
#include "runner/row_split.hpp"
#include "tidegate/runner.hpp"

namespace tidegate {
namespace {

constexpr std::size_t kLongestReason = 400;  // bytes of a host's message that are passed on

std::string first_line(std::string_view text) {
  std::string line(text.substr(0, std::min(text.find('\n'), kLongestReason)));
  return line.empty() ? "no message" : line;
}

Error threw(std::string_view what, const std::exception& failure) {
  return Error(ErrorCode::host_failed, fmt::format("{} threw: {}", what, first_line(failure.what())));
}

/// What a size function answers is its own secret; of models with one fingerprint it is the same.
Digest preparation_of(const CallbackOptions& options) {
  if (options.size && options.fingerprint.empty()) return {};
  Sha256 digest;
  digest.update_field(options.size ? "sized input 1" : "plain input 1");
  if (options.size) digest.update_field(options.fingerprint);
  return digest.update_field(options.rows == ItemRows::leading ? "leading rows" : "one row").finish();
}

ModelInfo callback_info(const CallbackOptions& options) {
  const std::string& fingerprint = options.fingerprint;
  ModelInfo info;
  info.layout = options.layout;
  info.kind = "callback";
  info.iterative = options.iterative;
  // Without a fingerprint nobody can say which answers are equal.
  info.deterministic = !fingerprint.empty();
  if (info.deterministic) info.fingerprint = Sha256().update_field("callback").update_field(fingerprint).finish();
  info.preparation = preparation_of(options);
  return info;
}

class CallbackRunner final : public ModelRunner {
 public:
  explicit CallbackRunner(CallbackOptions options)
      : info_(callback_info(options)),
        run_(std::move(options.run)),
        size_(std::move(options.size)),
        rows_(options.rows) {}

  const ModelInfo& info() const noexcept override { return info_; }

  Result<PreparedInput> prepare(Input input) override {
    TIDEGATE_CHECK(check_plain_input(input));
    PreparedInput prepared;
    TIDEGATE_TRY(prepared.size, size_of(input));
    prepared.input = std::move(input);
    return prepared;
  }

  void run(std::span<BatchItem> batch) override {
    for (BatchItem& item : batch) {
      item.output = Error(ErrorCode::host_failed, "the callback gave no answer for this item");
    }
    try {
      run_(batch);
    } catch (const std::exception& failure) {
      for (BatchItem& item : batch) {
        item.step = StepEnd::done;
        item.output = threw("the callback", failure);
      }
    } catch (...) {
      for (BatchItem& item : batch) {
        item.step = StepEnd::done;
        item.output = Error(ErrorCode::host_failed, "the callback threw something that is no std::exception");
      }
    }
  }

  Result<std::vector<PreparedInput>> split(const PreparedInput& input, const ItemSize& limit) override {
    if (rows_ == ItemRows::one) return ModelRunner::split(input, limit);
    return split_rows(input, limit, [this](const Input& part) { return size_of(part); });
  }

  Result<std::vector<Tensor>> join(std::vector<std::vector<Tensor>> parts) override { return join_rows(parts); }

 private:
  Result<ItemSize> size_of(const Input& input) const {
    ItemSize size;
    size.bytes = input_bytes(input);
    if (rows_ == ItemRows::leading) {
      TIDEGATE_TRY(const std::uint32_t rows, leading_rows(input));
      size = row_size(input, rows);
    }
    if (!size_) return size;
    try {
      size = size_(input);
    } catch (const std::exception& failure) {
      return threw("the size function", failure);
    } catch (...) {
      return Error(ErrorCode::host_failed, "the size function threw something that is no std::exception");
    }
    if (size.rows == 0 || size.tokens == 0) {
      return Error(ErrorCode::host_failed, "the size function answered no rows or no tokens; the least is 1 of each");
    }
    return size;
  }

  ModelInfo info_;
  std::function<void(std::span<BatchItem>)> run_;
  std::function<ItemSize(const Input&)> size_;
  ItemRows rows_;
};

}  // namespace

Result<std::unique_ptr<ModelRunner>> make_callback_runner(CallbackOptions options) {
  if (!options.run) {
    return Error(ErrorCode::invalid_argument,
                 "CallbackOptions.run is empty: it must be the function that runs a batch");
  }
  return std::unique_ptr<ModelRunner>(std::make_unique<CallbackRunner>(std::move(options)));
}

}  // namespace tidegate
