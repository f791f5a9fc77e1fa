// ProbeTexts: short texts of many kinds by which int8 is tuned and judged.
#pragma once

#include <span>
#include <string_view>

namespace tidegate {

/// About 200 texts, UTF-8; neighbours are of one kind. A model whose own texts are of
/// another kind is better served by texts of its user.
[[nodiscard]] std::span<const std::string_view> probe_texts() noexcept;

}  // namespace tidegate
