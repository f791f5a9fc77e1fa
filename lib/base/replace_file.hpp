// replace_file: a whole file written so that readers see the old one or the new one.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "tidegate/result.hpp"

namespace tidegate {

/// Writes `parts`, one after the other, to `path` + ".tmp", syncs it to the disk and
/// renames it to `path`. What an interrupted writer left is overwritten by the next.
/// Errors: busy (another writer is at it), io_error (names the file and the system's
/// reason); then `path` is as it was.
[[nodiscard]] Result<void> replace_file(const std::string& path, std::span<const std::span<const std::byte>> parts);

}  // namespace tidegate
