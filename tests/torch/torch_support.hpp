// What the tests of the torch module share: files that Python makes, and runs of one batch.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "tidegate/modules.hpp"

namespace tidegate::test {

/// Folder with the output of `script` (in tests/torch), run as `python script arguments
/// folder`. Made once and kept in the build tree under the digest of script and
/// arguments, so that tests which run at the same time share it. Throws if Python fails.
[[nodiscard]] std::string made_by(const std::string& script, const std::vector<std::string>& arguments = {});

/// The package's MiniLM folder; empty where it is not installed.
[[nodiscard]] std::string minilm_folder();

/// `count` distinct sentences of STS-B test, or made-up ones where that file is absent.
[[nodiscard]] std::vector<std::string> sentences(std::size_t count);

[[nodiscard]] std::string sha256_of_file(const std::string& path);

/// A file of make_models.py, loaded with its true digest.
[[nodiscard]] Result<std::unique_ptr<ModelRunner>> load_made(const std::string& name, std::uint32_t threads = 1);

/// Prepares and runs inputs as one batch; an input that is refused keeps the refusal.
[[nodiscard]] std::vector<Result<std::vector<Tensor>>> run_batch(ModelRunner& runner, std::vector<Input> inputs);

/// One-dimensional i64 tensor.
[[nodiscard]] Tensor integers(std::span<const std::int64_t> values);

/// How far the encoder and traced MiniLM are apart over some texts.
struct Agreement {
  double least_cosine = 1;
  double largest_difference = 0;
};
[[nodiscard]] Agreement compare_minilm(ModelRunner& encoder, ModelRunner& traced, const TextTokenizer& tokenizer,
                                       const std::vector<std::string>& texts);

}  // namespace tidegate::test
