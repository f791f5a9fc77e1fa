tidegate_add_test(tokenizer
  SOURCES
    ${CMAKE_CURRENT_LIST_DIR}/tokenizer_oracle_test.cpp
    ${CMAKE_CURRENT_LIST_DIR}/tokenizer_parts_test.cpp
    ${CMAKE_CURRENT_LIST_DIR}/tokenizer_test.cpp
  LINK tidegate_tokenizer nlohmann_json::nlohmann_json)
