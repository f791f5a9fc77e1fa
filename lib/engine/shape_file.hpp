// ShapeFile: what each shape of a model serves, kept beside the model from one run to the next.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "scaling/shape_choice.hpp"
#include "tidegate/runner.hpp"

namespace tidegate {

/// What measurements of shapes hold for.
struct ShapeKey {
  Digest fingerprint{};
  std::string processor;
  std::uint32_t cores = 1;
};

/// "tidegate-shape-<digits>.json"; keys that differ have different names.
[[nodiscard]] std::string shape_file_name(const ShapeKey& key);

/// JSON of version 1.
[[nodiscard]] std::string write_shapes(const ShapeKey& key, const std::vector<ShapeMeasurement>& measured);

/// nullopt where the text is no whole file of this version for this key and all its shapes.
[[nodiscard]] std::optional<std::vector<ShapeMeasurement>> read_shapes(std::string_view text, const ShapeKey& key);

}  // namespace tidegate
