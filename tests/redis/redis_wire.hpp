// Bytes as a Redis server sends them.
#pragma once

#include <string>

namespace tidegate::test {

inline std::string bulk_of(const std::string& text) {
  return "$" + std::to_string(text.size()) + "\r\n" + text + "\r\n";
}

}  // namespace tidegate::test
