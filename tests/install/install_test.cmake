# Run with cmake -P; see CMakeLists.txt for the variables.
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT code EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "failed (${code}): ${command}\n${output}")
  endif()
  set(run_output "${output}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE ${WORK_DIR})
set(prefix ${WORK_DIR}/prefix)
run(${CMAKE_COMMAND} --install ${BUILD_DIR} --prefix ${prefix} --strip)

# The core stays small: 5 MB stripped, without its modules.
file(REAL_PATH ${prefix}/${LIB_DIR}/libtidegate.so.1 core)
file(SIZE ${core} core_bytes)
if(core_bytes GREATER 5000000)
  message(FATAL_ERROR "libtidegate.so.1 has ${core_bytes} bytes stripped; the limit is 5000000")
endif()
message(STATUS "libtidegate.so.1: ${core_bytes} bytes stripped")

# find_package: tidegate::cxx and tidegate::tidegate.
run(${CMAKE_COMMAND} -S ${SOURCE_DIR} -B ${WORK_DIR}/consumer -DCMAKE_PREFIX_PATH=${prefix}
    -DCMAKE_CXX_COMPILER=${CXX} -DCMAKE_C_COMPILER=${CC} -DCMAKE_BUILD_TYPE=Release)
run(${CMAKE_COMMAND} --build ${WORK_DIR}/consumer)
run(${WORK_DIR}/consumer/uses_cxx)
run(${WORK_DIR}/consumer/uses_c)

# pkg-config: the C ABI alone.
find_program(pkg_config pkg-config REQUIRED)
set(ENV{PKG_CONFIG_PATH} ${prefix}/${LIB_DIR}/pkgconfig)
run(${pkg_config} --cflags --libs tidegate)
string(STRIP "${run_output}" flags)
separate_arguments(flags UNIX_COMMAND "${flags}")
run(${CC} -std=c11 -Wall -Werror ${SOURCE_DIR}/uses_c.c -o ${WORK_DIR}/uses_pc ${flags} -Wl,-rpath,${prefix}/${LIB_DIR})
run(${WORK_DIR}/uses_pc)

if(WITH_ROCKSDB AND NOT EXISTS ${prefix}/${LIB_DIR}/tidegate/1/libtidegate_rocksdb.so)
  message(FATAL_ERROR "the module of the disk cache was not installed")
endif()

# Installed modules are found by the installed program and by programs that link it.
if(WITH_ENCODER AND MODEL)
  run(${WORK_DIR}/consumer/uses_cxx ${MODEL} ${prefix}/${LIB_DIR}/tidegate/1/libtidegate_encoder.so)
  run(${prefix}/bin/tidegate doctor --json)
  if(NOT run_output MATCHES "\"name\":\"encoder\",\"path\":\"[^\"]*tidegate/1/libtidegate_encoder.so\"")
    message(FATAL_ERROR "the installed program did not find the installed encoder: ${run_output}")
  endif()
endif()
