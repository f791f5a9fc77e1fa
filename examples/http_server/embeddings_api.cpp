#include "embeddings_api.hpp"

#include <fmt/format.h>

#include <charconv>
#include <nlohmann/json.hpp>
#include <span>

namespace tidegate::http {
namespace {

using nlohmann::json;

Error invalid(std::string message) { return Error(ErrorCode::invalid_argument, std::move(message)); }

Result<std::vector<std::string>> read_inputs(const json& input) {
  if (input.is_string()) return std::vector<std::string>{input.get<std::string>()};
  if (!input.is_array()) return invalid("'input' must be a string or a list of strings");
  if (input.empty()) return invalid("'input' is an empty list");
  if (input.size() > kMostInputs) {
    return invalid(fmt::format("'input' has {} texts; at most {} are allowed", input.size(), kMostInputs));
  }
  std::vector<std::string> texts;
  texts.reserve(input.size());
  for (const json& text : input) {
    if (!text.is_string()) return invalid(fmt::format("'input[{}]' is not a string", texts.size()));
    texts.push_back(text.get<std::string>());
  }
  return texts;
}

/// RFC 4648, with padding.
std::string base64(std::span<const std::byte> bytes) {
  static constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t left = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t group = 0;
    for (std::size_t k = 0; k < 3; ++k)
      group = group << 8 | (k < left ? std::to_integer<std::uint32_t>(bytes[i + k]) : 0);
    for (std::size_t k = 0; k < 4; ++k) out += k <= left ? kAlphabet[group >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

/// A JSON list, each number in the fewest digits that read back as the same float.
void append_numbers(std::string& out, std::span<const float> values) {
  constexpr std::size_t kLongest = sizeof(",-1.2345678e-38") - 1;
  const std::size_t before = out.size();
  out.resize(before + values.size() * kLongest + 2);  // once: growing number by number costs more than the digits
  char* const end = out.data() + out.size();
  char* at = out.data() + before;
  *at++ = '[';
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i > 0) *at++ = ',';
    at = std::to_chars(at, end, values[i]).ptr;
  }
  *at++ = ']';
  out.resize(static_cast<std::size_t>(at - out.data()));
}

}  // namespace

Result<EmbeddingsRequest> parse_request(std::string_view body) {
  const json document = json::parse(body, nullptr, false);
  if (!document.is_object()) return invalid("the body must be a JSON object in UTF-8");
  EmbeddingsRequest request;
  const auto input = document.find("input");
  if (input == document.end()) return invalid("'input' is missing");
  auto inputs = read_inputs(*input);
  if (!inputs) return std::move(inputs).error();
  request.inputs = *std::move(inputs);
  if (const auto model = document.find("model"); model != document.end()) {
    if (!model->is_string()) return invalid("'model' must be a string");
    request.model = model->get<std::string>();
  }
  if (const auto user = document.find("user"); user != document.end()) {
    if (!user->is_string()) return invalid("'user' must be a string");
    request.user = user->get<std::string>();
  }
  if (const auto encoding = document.find("encoding_format"); encoding != document.end()) {
    if (*encoding == "base64")
      request.encoding = EmbeddingsRequest::Encoding::base64;
    else if (*encoding != "float")
      return invalid("'encoding_format' must be \"float\" or \"base64\"");
  }
  if (document.contains("dimensions")) return invalid("'dimensions' is not supported: this model has one size");
  return request;
}

std::string render_response(const EmbeddingsRequest& request, const std::vector<Tensor>& embeddings,
                            std::uint64_t tokens) {
  // Written by hand: a JSON library's tree of 384 numbers a text costs more than the model's cache.
  std::string out = R"({"object":"list","data":[)";
  for (std::size_t i = 0; i < embeddings.size(); ++i) {
    fmt::format_to(std::back_inserter(out), R"({}{{"object":"embedding","index":{},"embedding":)", i == 0 ? "" : ",",
                   i);
    if (request.encoding == EmbeddingsRequest::Encoding::base64) {
      fmt::format_to(std::back_inserter(out), "\"{}\"", base64(embeddings[i].bytes()));
    } else {
      append_numbers(out, embeddings[i].as<float>());
    }
    out += '}';
  }
  fmt::format_to(std::back_inserter(out), R"(],"model":{},"usage":{{"prompt_tokens":{},"total_tokens":{}}}}})",
                 json(request.model).dump(-1, ' ', false, json::error_handler_t::replace), tokens, tokens);
  return out;
}

std::string render_error(const Error& error) {
  const bool clients_fault = http_status(error.code()) < 500;
  return json{{"error",
               {{"message", error.text()},
                {"type", clients_fault ? "invalid_request_error" : "server_error"},
                {"param", nullptr},
                {"code", std::string(to_string(error.code()))}}}}
      .dump(-1, ' ', false, json::error_handler_t::replace);
}

std::int64_t retry_after_seconds(const Error& error) noexcept {
  const auto whole = std::chrono::ceil<std::chrono::seconds>(error.retry_after()).count();
  return std::max<std::int64_t>(1, whole);
}

}  // namespace tidegate::http
