# Packing and quantizing of models, for the encoder module and its tests.
add_library(tidegate_packing OBJECT
  ${CMAKE_CURRENT_LIST_DIR}/activation_statistics.cpp
  ${CMAKE_CURRENT_LIST_DIR}/fidelity.cpp
  ${CMAKE_CURRENT_LIST_DIR}/gptq.cpp
  ${CMAKE_CURRENT_LIST_DIR}/image_layout.cpp
  ${CMAKE_CURRENT_LIST_DIR}/model_packer.cpp
  ${CMAKE_CURRENT_LIST_DIR}/pack_loader.cpp
  ${CMAKE_CURRENT_LIST_DIR}/packed_file.cpp
  ${CMAKE_CURRENT_LIST_DIR}/probe_texts.cpp
  ${CMAKE_CURRENT_LIST_DIR}/quantizer.cpp
  ${CMAKE_CURRENT_LIST_DIR}/smoothing.cpp
  ${CMAKE_CURRENT_LIST_DIR}/widen.cpp)
target_include_directories(tidegate_packing PRIVATE ${PROJECT_SOURCE_DIR}/lib)
target_link_libraries(tidegate_packing
  PUBLIC tidegate_headers
  PRIVATE tidegate_warnings fmt::fmt nlohmann_json::nlohmann_json)
