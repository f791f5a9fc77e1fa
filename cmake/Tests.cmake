# tidegate_add_test(<name> SOURCES <files> [LINK <libraries>])
#
# One doctest program test_<name>; every TEST_CASE becomes a ctest entry
# "<name>: <sentence>" with the label <name>. Tests may see lib/. A sentence has no
# semicolon and no unpaired bracket: CMake lists would split or join there.
find_package(doctest REQUIRED)
include(doctest)

set(TIDEGATE_SHARED_DIR ${CMAKE_SOURCE_DIR}/../shared CACHE PATH
    "Folder of reference cases and data; tests that need it say so and pass when it is absent")
set(TIDEGATE_TRACE_DIR ${TIDEGATE_SHARED_DIR}/data CACHE PATH
    "Folder of recorded cache traces; tests that need one say so and pass when it is absent")

add_library(tidegate_test_support STATIC ${PROJECT_SOURCE_DIR}/tests/support/test_main.cpp)
target_include_directories(tidegate_test_support PUBLIC ${PROJECT_SOURCE_DIR}/tests ${PROJECT_SOURCE_DIR}/lib)
target_link_libraries(tidegate_test_support PUBLIC tidegate_headers doctest::doctest)
target_compile_definitions(tidegate_test_support PUBLIC
  TIDEGATE_TEST_SHARED_DIR="${TIDEGATE_SHARED_DIR}"
  TIDEGATE_TEST_TRACE_DIR="${TIDEGATE_TRACE_DIR}"
  TIDEGATE_TEST_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
  TIDEGATE_TEST_BINARY_DIR="${PROJECT_BINARY_DIR}"
  TIDEGATE_TEST_PYTHON="${TIDEGATE_VENV}/bin/python"
  TIDEGATE_TEST_VENV="${TIDEGATE_VENV}")

function(tidegate_add_test name)
  cmake_parse_arguments(TEST "" "" "SOURCES;LINK" ${ARGN})
  add_executable(test_${name} ${TEST_SOURCES})
  target_link_libraries(test_${name} PRIVATE tidegate_test_support tidegate_cxx tidegate_warnings ${TEST_LINK})
  doctest_discover_tests(test_${name} TEST_PREFIX "${name}: " PROPERTIES TIMEOUT 600 LABELS ${name})
endfunction()
