// Version of the headers a program is compiled against.
#pragma once

#define TIDEGATE_VERSION_MAJOR 0
#define TIDEGATE_VERSION_MINOR 1
#define TIDEGATE_VERSION_PATCH 0

namespace tidegate {

/// Version of the linked library, "major.minor.patch". Static storage.
[[nodiscard]] const char* version_string() noexcept;

/// Identifies one exact build of library and modules: a module whose build id
/// differs is refused, because C++ types cross that border. Static storage.
[[nodiscard]] const char* build_id() noexcept;

}  // namespace tidegate
