# Third-party packages, each found once. Python packages are looked for in .venv/.
find_package(Threads REQUIRED)
find_package(Boost 1.81 REQUIRED)
find_package(fmt REQUIRED)
find_package(OpenSSL 3.0 REQUIRED COMPONENTS Crypto)
find_package(nlohmann_json REQUIRED)
find_path(TIDEGATE_HNSWLIB_INCLUDE hnswlib/hnswlib.h)
if(NOT TIDEGATE_HNSWLIB_INCLUDE)
  message(FATAL_ERROR "hnswlib was not found: run scripts/install_deps.sh, or install libhnswlib-dev")
endif()

set(TIDEGATE_VENV ${CMAKE_SOURCE_DIR}/.venv CACHE PATH "Virtual environment that holds the Python packages")

if(TIDEGATE_WITH_REDIS)
  find_package(PkgConfig REQUIRED)
  find_package(OpenSSL 3.0 REQUIRED COMPONENTS Crypto SSL)
  pkg_check_modules(hiredis IMPORTED_TARGET GLOBAL hiredis>=0.14)
  if(NOT hiredis_FOUND)
    message(FATAL_ERROR "hiredis was not found: run scripts/install_deps.sh, install libhiredis-dev, "
                        "or configure with -DTIDEGATE_WITH_REDIS=OFF")
  endif()
endif()

if(TIDEGATE_WITH_ENCODER)
  # No upper bound by name: 3.x keeps its API; Debian 12's own package is 2.6.
  find_package(dnnl 3.0 CONFIG HINTS ${TIDEGATE_VENV}/lib/cmake/dnnl)
  if(NOT dnnl_FOUND)
    message(FATAL_ERROR "oneDNN 3.x was not found: run scripts/install_deps.sh, set dnnl_DIR, "
                        "or configure with -DTIDEGATE_WITH_ENCODER=OFF")
  endif()
endif()

if(TIDEGATE_WITH_ROCKSDB)
  # Not by its own package file, which asks for everything RocksDB itself was built with.
  find_path(TIDEGATE_ROCKSDB_INCLUDE rocksdb/db.h)
  find_library(TIDEGATE_ROCKSDB_LIBRARY rocksdb)
  if(NOT TIDEGATE_ROCKSDB_INCLUDE OR NOT TIDEGATE_ROCKSDB_LIBRARY)
    message(FATAL_ERROR "RocksDB was not found: run scripts/install_deps.sh, set TIDEGATE_ROCKSDB_INCLUDE and "
                        "TIDEGATE_ROCKSDB_LIBRARY, or configure with -DTIDEGATE_WITH_ROCKSDB=OFF")
  endif()
  add_library(tidegate_rocksdb_library SHARED IMPORTED)
  set_target_properties(tidegate_rocksdb_library PROPERTIES
    IMPORTED_LOCATION ${TIDEGATE_ROCKSDB_LIBRARY} INTERFACE_INCLUDE_DIRECTORIES ${TIDEGATE_ROCKSDB_INCLUDE})
endif()

if(TIDEGATE_WITH_TORCH)
  if(NOT Torch_DIR AND DEFINED ENV{Torch_DIR})
    set(Torch_DIR $ENV{Torch_DIR})
  endif()
  if(NOT Torch_DIR)
    file(GLOB torch_dirs ${TIDEGATE_VENV}/lib/python3.*/site-packages/torch/share/cmake/Torch)
    if(torch_dirs)
      list(GET torch_dirs 0 Torch_DIR)
    endif()
  endif()
  find_package(Torch CONFIG HINTS ${Torch_DIR})
  if(NOT Torch_FOUND)
    message(FATAL_ERROR "libtorch was not found: run scripts/install_deps.sh, set Torch_DIR, "
                        "or configure with -DTIDEGATE_WITH_TORCH=OFF")
  endif()
endif()
