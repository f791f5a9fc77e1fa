# The tokenizer alone, so that its tests need neither oneDNN nor a module.
add_library(tidegate_tokenizer OBJECT
  ${CMAKE_CURRENT_LIST_DIR}/added_tokens.cpp
  ${CMAKE_CURRENT_LIST_DIR}/byte_trie.cpp
  ${CMAKE_CURRENT_LIST_DIR}/char_table.cpp
  ${CMAKE_CURRENT_LIST_DIR}/tokenizer.cpp
  ${CMAKE_CURRENT_LIST_DIR}/tokenizer_files.cpp
  ${CMAKE_CURRENT_LIST_DIR}/tokenizer_json.cpp
  ${CMAKE_CURRENT_LIST_DIR}/unicode_tables.cpp
  ${CMAKE_CURRENT_LIST_DIR}/word_piece.cpp)
target_include_directories(tidegate_tokenizer PRIVATE ${PROJECT_SOURCE_DIR}/lib)
target_link_libraries(tidegate_tokenizer
  PUBLIC tidegate_headers PRIVATE tidegate_warnings nlohmann_json::nlohmann_json)
