# tidegate_add_module(<name> SOURCES <files> [ROOMS <rooms>] [PRIVATE <libraries>])
#
# Builds libtidegate_<name>.so, opened at run time with RTLD_LOCAL. It carries its
# own copy of the rooms it names, imports nothing from the core and exports one
# symbol, tidegate_module (lib/base/module_abi.hpp).
set(TIDEGATE_MODULE_DIR ${CMAKE_INSTALL_LIBDIR}/tidegate/1)
file(RELATIVE_PATH TIDEGATE_MODULE_DIR_FROM_BIN ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR}/tidegate/1)

# The build id covers what two sides of the module border must agree on: the headers
# they share, the compiler and the options that change layouts.
file(GLOB build_id_inputs CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/include/tidegate/*.hpp
     ${CMAKE_SOURCE_DIR}/lib/base/module_abi.hpp ${CMAKE_SOURCE_DIR}/lib/runner/module_abi.hpp
     ${CMAKE_SOURCE_DIR}/lib/cache/disk_module_abi.hpp)
set(build_id_text "${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION} ${CMAKE_BUILD_TYPE} ${TIDEGATE_SANITIZE}")
foreach(input IN LISTS build_id_inputs)
  set_property(DIRECTORY ${CMAKE_SOURCE_DIR} APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${input})
  file(SHA256 ${input} digest)
  string(APPEND build_id_text " ${digest}")
endforeach()
string(SHA256 build_id_digest "${build_id_text}")
string(SUBSTRING ${build_id_digest} 0 16 build_id_short)
set(TIDEGATE_BUILD_ID "${PROJECT_VERSION}-${build_id_short}")
configure_file(cmake/build_facts.hpp.in ${CMAKE_BINARY_DIR}/generated/build_facts.hpp @ONLY)

function(tidegate_add_module name)
  cmake_parse_arguments(MODULE "" "" "SOURCES;ROOMS;PRIVATE" ${ARGN})
  add_library(tidegate_module_${name} MODULE ${MODULE_SOURCES})
  set_target_properties(tidegate_module_${name} PROPERTIES OUTPUT_NAME tidegate_${name})
  target_include_directories(tidegate_module_${name} PRIVATE ${PROJECT_SOURCE_DIR}/lib)
  list(TRANSFORM MODULE_ROOMS PREPEND tidegate_ OUTPUT_VARIABLE room_targets)
  target_link_libraries(tidegate_module_${name} PRIVATE
    tidegate_headers tidegate_warnings ${room_targets} ${MODULE_PRIVATE} Threads::Threads)
  target_link_options(tidegate_module_${name} PRIVATE
    -Wl,--version-script=${PROJECT_SOURCE_DIR}/cmake/module.map -Wl,-z,defs -Wl,-z,nodelete -Wl,-Bsymbolic
    -Wl,--exclude-libs,ALL)
  set_property(TARGET tidegate_module_${name} PROPERTY LINK_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/module.map)
  install(TARGETS tidegate_module_${name} LIBRARY DESTINATION ${TIDEGATE_MODULE_DIR} COMPONENT plugins)
endfunction()
