# TIDEGATE_SANITIZE applies to everything that is compiled here.
if(TIDEGATE_SANITIZE STREQUAL "address")
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g1)
  add_link_options(-fsanitize=address,undefined)
elseif(TIDEGATE_SANITIZE STREQUAL "thread")
  # GCC warns that it does not model the fences of Asio's fenced blocks; the
  # scheduler's own mutex orders what they order, and that it does model.
  add_compile_options(-fsanitize=thread -fno-omit-frame-pointer -g1 $<$<CXX_COMPILER_ID:GNU>:-Wno-tsan>)
  add_link_options(-fsanitize=thread)
  # ThreadSanitizer does not understand fences; Asio's scheduler orders its work by a mutex as well.
  add_compile_definitions(BOOST_ASIO_DISABLE_FENCED_BLOCK)
elseif(TIDEGATE_SANITIZE)
  message(FATAL_ERROR "TIDEGATE_SANITIZE=${TIDEGATE_SANITIZE}: use 'address' or 'thread'")
endif()
