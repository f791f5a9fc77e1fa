// The only file that includes libtorch. It uses no fmt: libtorch brings headers of a
// version of its own.
#include "runner/torch/torch_model.hpp"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>
#include <torch/headeronly/version.h>

#include <cstring>
#include <optional>
#include <sstream>

#include "base/try.hpp"
#include "runner/torch/torch_call.hpp"

namespace tidegate {
namespace {

constexpr std::pair<DataType, at::ScalarType> kTypes[] = {
    {DataType::f32, at::kFloat},     {DataType::f64, at::kDouble}, {DataType::f16, at::kHalf},
    {DataType::bf16, at::kBFloat16}, {DataType::i8, at::kChar},    {DataType::i16, at::kShort},
    {DataType::i32, at::kInt},       {DataType::i64, at::kLong},   {DataType::u8, at::kByte},
    {DataType::boolean, at::kBool},
};

at::ScalarType torch_type(DataType type) {
  for (const auto& [ours, theirs] : kTypes) {
    if (ours == type) return theirs;
  }
  return at::kFloat;
}

std::optional<DataType> our_type(at::ScalarType type) {
  for (const auto& [ours, theirs] : kTypes) {
    if (theirs == type) return ours;
  }
  return std::nullopt;
}

/// The text between `before` and the first of `ends`; empty if `before` is absent.
std::string text_after(const std::string& text, std::string_view before, const char* ends) {
  const std::size_t at = text.find(before);
  if (at == std::string::npos) return {};
  const std::size_t start = at + before.size();
  return text.substr(start, text.find_first_of(ends, start) - start);
}

std::string running_version() { return text_after(at::show_config(), "TORCH_VERSION=", ", \n"); }

/// libtorch's file name carries no version, and its C++ types change with each one.
Result<void> check_version() {
  const std::string version = running_version();
  if (version.empty() || version == TORCH_VERSION) return {};
  return Error(ErrorCode::version_mismatch, std::string("the torch module was built with libtorch ") + TORCH_VERSION +
                                                ", but libtorch " + version + " was found");
}

/// Of one item in the batch.
std::int64_t rows_of(const std::vector<Tensor>& item, ItemRows rows) {
  return rows == ItemRows::leading ? item.front().shape().front() : 1;
}

/// Always a copy: a script may write to its arguments, and a Tensor never changes.
at::Tensor stack(std::span<const std::vector<Tensor>* const> items, std::size_t argument, ItemRows rows) {
  const Shape& first = (*items[0])[argument].shape();
  std::vector<std::int64_t> sizes{0};
  sizes.insert(sizes.end(), rows == ItemRows::leading ? first.begin() + 1 : first.begin(), first.end());
  for (const std::vector<Tensor>* item : items) sizes[0] += rows_of(*item, rows);
  at::Tensor batch = at::empty(sizes, at::TensorOptions().dtype(torch_type((*items[0])[argument].type())));
  auto* out = static_cast<std::byte*>(batch.data_ptr());
  for (const std::vector<Tensor>* item : items) {
    const auto bytes = (*item)[argument].bytes();
    if (!bytes.empty()) std::memcpy(out, bytes.data(), bytes.size());
    out += bytes.size();
  }
  return batch;
}

Error not_tensors(const c10::IValue& value) {
  return Error(ErrorCode::unsupported, "the model answered " + value.type()->annotation_str() +
                                           "; it must be a tensor, or a tuple, list or dictionary of tensors");
}

/// A dictionary's tensors come in its own order, which TorchScript keeps.
Result<std::vector<at::Tensor>> tensors_of(const c10::IValue& value) {
  std::vector<c10::IValue> parts;
  if (value.isTensor()) {
    parts = {value};
  } else if (value.isTuple()) {
    for (const c10::IValue& part : value.toTupleRef().elements()) parts.push_back(part);
  } else if (value.isList()) {
    for (const c10::IValue& part : value.toListRef()) parts.push_back(part);
  } else if (value.isGenericDict()) {
    for (const auto& entry : value.toGenericDict()) parts.push_back(entry.value());
  } else {
    return not_tensors(value);
  }
  std::vector<at::Tensor> tensors;
  for (const c10::IValue& part : parts) {
    if (!part.isTensor() || !part.toTensor().defined()) return not_tensors(value);
    tensors.push_back(part.toTensor());
  }
  return tensors;
}

std::string output_name(std::size_t index) { return "output " + std::to_string(index) + " of the model"; }

std::string shape_text(at::IntArrayRef sizes) {
  std::string text;
  for (const std::int64_t size : sizes) text += (text.empty() ? "" : ", ") + std::to_string(size);
  return "[" + text + "]";
}

/// Output number `index`, in pieces, one for each item.
Result<std::vector<Tensor>> split(const at::Tensor& output, std::size_t index,
                                  std::span<const std::vector<Tensor>* const> items, ItemRows leading) {
  const auto type = our_type(output.scalar_type());
  if (!type || output.layout() != at::kStrided) {
    return Error(ErrorCode::unsupported,
                 output_name(index) + " has type " + output.toString() + ", which Tidegate has not");
  }
  std::int64_t count = 0;
  for (const std::vector<Tensor>* item : items) count += rows_of(*item, leading);
  if (output.dim() == 0 || output.size(0) != count) {
    return Error(ErrorCode::unsupported, output_name(index) + " has shape " + shape_text(output.sizes()) +
                                             "; its leading dimension must be the batch, here " +
                                             std::to_string(count));
  }
  const at::Tensor rows = output.to(at::kCPU).resolve_neg().contiguous();
  const std::size_t stride = rows.nbytes() / static_cast<std::size_t>(count);
  const auto* bytes = static_cast<const std::byte*>(rows.const_data_ptr());
  std::vector<Tensor> pieces;
  for (const std::vector<Tensor>* item : items) {
    const std::int64_t own = rows_of(*item, leading);
    Shape shape(rows.sizes().begin() + 1, rows.sizes().end());
    if (leading == ItemRows::leading) shape.insert(shape.begin(), own);
    const std::size_t size = stride * static_cast<std::size_t>(own);
    // A copy, so that one answer that is kept does not keep the batch.
    TIDEGATE_TRY(Tensor tensor, Tensor::copy_of(*type, std::move(shape), {bytes, size}));
    bytes += size;
    pieces.push_back(std::move(tensor));
  }
  return pieces;
}

class ScriptModel final : public TorchModel {
 public:
  ScriptModel(torch::jit::Module module, torch::jit::Method method, std::uint32_t threads)
      : module_(std::move(module)), method_(std::move(method)), threads_(static_cast<int>(threads)) {}

  std::size_t least_arguments() const noexcept override { return least_; }
  std::size_t most_arguments() const noexcept override { return most_; }

  Result<void> read_arguments() {
    const auto& arguments = method_.function().getSchema().arguments();
    for (std::size_t i = 1; i < arguments.size(); ++i) {  // 0 is the module itself
      const c10::Argument& argument = arguments[i];
      const bool takes_tensor = !argument.kwarg_only() && c10::TensorType::get()->isSubtypeOf(*argument.type());
      if (!takes_tensor && !argument.default_value()) {
        return Error(ErrorCode::unsupported, "the model's forward needs '" + argument.name() + "' of type " +
                                                 argument.type()->annotation_str() + "; only tensors can be given");
      }
      if (takes_tensor && most_ == i - 1) most_ = i;
      if (!argument.default_value()) least_ = i;
    }
    if (most_ == 0) return Error(ErrorCode::unsupported, "the model's forward takes no tensors");
    if (least_ > most_) {
      return Error(ErrorCode::unsupported, "the model's forward needs a tensor behind an argument of another type");
    }
    return {};
  }

  Result<std::vector<std::vector<Tensor>>> forward(std::span<const std::vector<Tensor>* const> items,
                                                   ItemRows rows) const override {
    return torch_call("the model failed", ErrorCode::backend_failed, [&] { return forward_or_throw(items, rows); });
  }

 private:
  Result<std::vector<std::vector<Tensor>>> forward_or_throw(std::span<const std::vector<Tensor>* const> items,
                                                            ItemRows rows) const {
    // The count is kept per thread by OpenMP, so models with different counts on
    // different threads do not disturb each other.
    if (at::get_num_threads() != threads_) at::set_num_threads(threads_);
    const c10::InferenceMode inference;
    std::vector<c10::IValue> arguments;
    for (std::size_t i = 0; i < items[0]->size(); ++i) arguments.emplace_back(stack(items, i, rows));
    const c10::IValue answer = method_(std::move(arguments));
    TIDEGATE_TRY(const std::vector<at::Tensor> outputs, tensors_of(answer));
    std::vector<std::vector<Tensor>> answers(items.size());
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      TIDEGATE_TRY(std::vector<Tensor> pieces, split(outputs[i], i, items, rows));
      for (std::size_t item = 0; item < items.size(); ++item) answers[item].push_back(std::move(pieces[item]));
    }
    return answers;
  }

  torch::jit::Module module_;  // owns what `method_` runs on
  torch::jit::Method method_;
  int threads_;
  std::size_t least_ = 0;
  std::size_t most_ = 0;
};

Result<std::unique_ptr<TorchModel>> load_or_throw(std::string bytes, std::uint32_t threads) {
  TIDEGATE_CHECK(check_version());
  std::istringstream archive(std::move(bytes));
  torch::jit::Module module = torch::jit::load(archive, at::kCPU);
  module.eval();
  const auto method = module.find_method("forward");
  if (!method) return Error(ErrorCode::unsupported, "the TorchScript module has no method 'forward'");
  auto model = std::make_unique<ScriptModel>(module, *method, threads);
  TIDEGATE_CHECK(model->read_arguments());
  return std::unique_ptr<TorchModel>(std::move(model));
}

}  // namespace

Result<std::unique_ptr<TorchModel>> TorchModel::load(std::string bytes, std::uint32_t threads) {
  return torch_call("not a TorchScript archive that this libtorch can load", ErrorCode::corrupt_data,
                    [&] { return load_or_throw(std::move(bytes), threads); });
}

std::vector<std::pair<std::string, std::string>> torch_facts() {
  using Facts = std::vector<std::pair<std::string, std::string>>;
  auto facts = torch_call("libtorch gave no facts", ErrorCode::backend_failed, []() -> Result<Facts> {
    return Facts{{"libtorch", running_version()},
                 {"onednn", text_after(at::get_mkldnn_version(), "DNN v", " \n")},
                 {"kernels", at::get_cpu_capability()}};
  });
  if (!facts) return {{"trouble", facts.error().text()}};
  return *std::move(facts);
}

}  // namespace tidegate
