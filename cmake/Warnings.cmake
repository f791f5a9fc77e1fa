# Warnings are errors in our own code only.
add_library(tidegate_warnings INTERFACE)
target_compile_options(tidegate_warnings INTERFACE
  -Wall -Wextra -Werror -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wno-missing-field-initializers)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 sees overlaps in std::string's own operator+ that are not there (GCC bug 105329).
  target_compile_options(tidegate_warnings INTERFACE -Wno-restrict)
  if(TIDEGATE_SANITIZE)
    # The sanitizers' instrumentation makes GCC 12 warn of variables that are set.
    target_compile_options(tidegate_warnings INTERFACE -Wno-maybe-uninitialized)
  endif()
endif()
