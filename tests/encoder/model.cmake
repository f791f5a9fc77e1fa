# Tests of the model folder reader, and the generator of folders with random weights.
add_library(tidegate_random_model STATIC ${PROJECT_SOURCE_DIR}/tests/support/random_model.cpp)
target_include_directories(tidegate_random_model PUBLIC ${PROJECT_SOURCE_DIR}/tests ${PROJECT_SOURCE_DIR}/lib)
target_link_libraries(tidegate_random_model
  PUBLIC tidegate_headers
  PRIVATE tidegate_cxx tidegate_warnings nlohmann_json::nlohmann_json)

tidegate_add_test(encoder_model
  SOURCES model_load_test.cpp model_error_test.cpp model_weights_test.cpp
  LINK tidegate_encoder_model tidegate_random_model fmt::fmt nlohmann_json::nlohmann_json)
