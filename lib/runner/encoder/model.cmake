# The reader of model folders, for the encoder module and its tests.
add_library(tidegate_encoder_model OBJECT
  ${CMAKE_CURRENT_LIST_DIR}/encoder_model.cpp
  ${CMAKE_CURRENT_LIST_DIR}/json_document.cpp
  ${CMAKE_CURRENT_LIST_DIR}/model_config.cpp
  ${CMAKE_CURRENT_LIST_DIR}/model_folder.cpp
  ${CMAKE_CURRENT_LIST_DIR}/model_modules.cpp
  ${CMAKE_CURRENT_LIST_DIR}/safetensors.cpp
  ${CMAKE_CURRENT_LIST_DIR}/weight_names.cpp
  ${CMAKE_CURRENT_LIST_DIR}/weight_store.cpp)
target_include_directories(tidegate_encoder_model PRIVATE ${PROJECT_SOURCE_DIR}/lib)
target_link_libraries(tidegate_encoder_model
  PUBLIC tidegate_headers
  PRIVATE tidegate_warnings fmt::fmt nlohmann_json::nlohmann_json)
