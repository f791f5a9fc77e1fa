# The FFI examples: built with their own tools and run on the synthetic model, on the
# real one where it is installed, and on a folder that is not there. A toolchain that
# is missing makes its test say so and count as skipped.
find_program(TIDEGATE_GO go)
find_program(TIDEGATE_CARGO cargo HINTS $ENV{HOME}/.cargo/bin)

function(tidegate_add_ffi_example language)
  set(name "examples: ${language} through the C ABI")
  add_test(NAME ${name} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/ffi_test.sh ${language})
  set(model "")
  if(TIDEGATE_WITH_ENCODER)
    set(model "${TIDEGATE_MINILM}")
  endif()
  set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 300 LABELS "examples;nosanitize" ENVIRONMENT
    "SOURCE_DIR=${PROJECT_SOURCE_DIR};LIBRARY=$<TARGET_FILE:tidegate_capi>;WORK_DIR=${PROJECT_BINARY_DIR}/ffi;\
EMBED_C=$<TARGET_FILE:tidegate_embed_c>;GO=${TIDEGATE_GO};CARGO=${TIDEGATE_CARGO};PYTHON=${TIDEGATE_VENV}/bin/python;\
MODEL=${model};CC=${CMAKE_C_COMPILER}")
endfunction()

foreach(language c python go rust)
  tidegate_add_ffi_example(${language})
endforeach()
