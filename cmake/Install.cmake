# Install rules and the package files: find_package(tidegate) and tidegate.pc.
include(CMakePackageConfigHelpers)

set(tidegate_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/tidegate)

install(TARGETS tidegate_cxx tidegate_headers EXPORT tidegateTargets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development)
if(TARGET tidegate_capi)
install(TARGETS tidegate_capi EXPORT tidegateTargets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime NAMELINK_COMPONENT development)
endif()
install(DIRECTORY include/tidegate capi/include/tidegate DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        COMPONENT development FILES_MATCHING PATTERN "*.hpp" PATTERN "*.h")
install(EXPORT tidegateTargets NAMESPACE tidegate:: DESTINATION ${tidegate_cmake_dir} COMPONENT development)

configure_package_config_file(cmake/tidegateConfig.cmake.in ${CMAKE_BINARY_DIR}/tidegateConfig.cmake
                              INSTALL_DESTINATION ${tidegate_cmake_dir})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/tidegateConfigVersion.cmake COMPATIBILITY SameMajorVersion)
install(FILES ${CMAKE_BINARY_DIR}/tidegateConfig.cmake ${CMAKE_BINARY_DIR}/tidegateConfigVersion.cmake
        DESTINATION ${tidegate_cmake_dir} COMPONENT development)

file(RELATIVE_PATH TIDEGATE_PC_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" TIDEGATE_PC_PREFIX ${TIDEGATE_PC_PREFIX})
configure_file(cmake/tidegate.pc.in ${CMAKE_BINARY_DIR}/tidegate.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/tidegate.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)
