# What is built. Everything a developer wants is on when this is the top project.
option(TIDEGATE_BUILD_TESTS "Build the tests" ${PROJECT_IS_TOP_LEVEL})
option(TIDEGATE_BUILD_BENCHMARKS "Build the benchmarks" ${PROJECT_IS_TOP_LEVEL})
option(TIDEGATE_BUILD_EXAMPLES "Build the examples and the tidegate program" ${PROJECT_IS_TOP_LEVEL})
option(TIDEGATE_WITH_ENCODER "Build the native text encoder module (needs oneDNN 3.x)" ON)
option(TIDEGATE_WITH_ROCKSDB "Build the module of the disk cache (needs RocksDB)" ON)
option(TIDEGATE_WITH_TORCH "Build the TorchScript module (needs libtorch)" ON)
option(TIDEGATE_WITH_REDIS "Build the Redis cache tier (needs hiredis)" ON)
set(TIDEGATE_SANITIZE "" CACHE STRING "Sanitizers to build with: empty, address (with undefined) or thread")
set_property(CACHE TIDEGATE_SANITIZE PROPERTY STRINGS "" address thread)

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 11)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
# Programs, the shared library and the modules lie side by side in the build tree,
# as they do not when installed; the module loader looks in both places.
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
