# tidegate_add_room(<name> SOURCES <files> [MAY_USE <rooms>] [PRIVATE <libraries>])
#
# One OBJECT library tidegate_<name> per room. MAY_USE names rooms of lower floors;
# scripts/check_layers holds the include lines against the same rule.
add_library(tidegate_headers INTERFACE)
target_include_directories(tidegate_headers INTERFACE
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_compile_features(tidegate_headers INTERFACE cxx_std_20)

set_property(GLOBAL PROPERTY TIDEGATE_ROOMS "")

# A request's records are some hundred bytes that begin as zeros. GCC clears such blocks with `rep stos`,
# whose start alone takes 30 cycles or more; a vector loop is done by then.
include(CheckCXXCompilerFlag)
set(clear_in_a_loop "-mmemset-strategy=vector_loop:512:noalign,libcall:-1:noalign")
check_cxx_compiler_flag("${clear_in_a_loop}" TIDEGATE_CAN_CLEAR_IN_A_LOOP)

function(tidegate_add_room name)
  cmake_parse_arguments(ROOM "" "" "SOURCES;MAY_USE;PRIVATE" ${ARGN})
  add_library(tidegate_${name} OBJECT ${ROOM_SOURCES})
  target_include_directories(tidegate_${name} PRIVATE ${PROJECT_SOURCE_DIR}/lib)
  target_link_libraries(tidegate_${name} PUBLIC tidegate_headers PRIVATE tidegate_warnings Threads::Threads)
  if(TIDEGATE_CAN_CLEAR_IN_A_LOOP)
    target_compile_options(tidegate_${name} PRIVATE ${clear_in_a_loop})
  endif()
  foreach(lower IN LISTS ROOM_MAY_USE)
    if(NOT TARGET tidegate_${lower})
      message(FATAL_ERROR "room '${name}' may not use '${lower}': it is not on a lower floor")
    endif()
    target_link_libraries(tidegate_${name} PRIVATE tidegate_${lower})
  endforeach()
  if(ROOM_PRIVATE)
    target_link_libraries(tidegate_${name} PRIVATE ${ROOM_PRIVATE})
  endif()
  set_property(GLOBAL APPEND PROPERTY TIDEGATE_ROOMS tidegate_${name})
endfunction()
