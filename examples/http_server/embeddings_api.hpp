// The JSON of POST /v1/embeddings, in the shape of OpenAI's API. No sockets here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tidegate/request.hpp"

namespace tidegate::http {

struct EmbeddingsRequest {
  enum class Encoding : std::uint8_t { numbers, base64 };
  std::vector<std::string> inputs;
  std::string model;  ///< as the client named it; echoed in the answer
  std::string user;   ///< empty = not said
  Encoding encoding = Encoding::numbers;
};

/// Most texts in one request, as in OpenAI's API.
inline constexpr std::size_t kMostInputs = 2048;

/// Errors: invalid_argument, naming the field and what it must be.
[[nodiscard]] Result<EmbeddingsRequest> parse_request(std::string_view body);

/// `embeddings` in the order of the inputs; `tokens` is their sum.
[[nodiscard]] std::string render_response(const EmbeddingsRequest& request, const std::vector<Tensor>& embeddings,
                                          std::uint64_t tokens);

[[nodiscard]] std::string render_error(const Error& error);

/// Whole seconds for the Retry-After header, at least 1.
[[nodiscard]] std::int64_t retry_after_seconds(const Error& error) noexcept;

}  // namespace tidegate::http
