// One HTTP connection. Nothing in it blocks: the engine answers later, on its own
// thread, and the answer is posted back to the connection's strand.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/strand.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <functional>
#include <memory>
#include <optional>

#include "embeddings_api.hpp"
#include "tidegate/tidegate.hpp"

namespace tidegate::http {

/// What all connections share; outlives them.
struct Service {
  Engine engine;
  std::unique_ptr<TextTokenizer> tokenizer;  ///< counts tokens for `usage`; null = counts none
  std::string model_name;
  Duration timeout{0};               ///< deadline of each request; 0 = none
  std::size_t body_limit = 8 << 20;  ///< bytes
  // Touched on the event loop's thread only.
  std::size_t open_requests = 0;        ///< read and not yet answered
  std::function<void()> on_quiet = {};  ///< set at shutdown: called when none is open
};

/// Lives as long as its connection; one request at a time (HTTP/1.1 keep-alive).
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(boost::asio::ip::tcp::socket&& socket, std::shared_ptr<Service> service);
  void start();

 private:
  using Response = boost::beast::http::response<boost::beast::http::string_body>;
  struct Embedding;

  void read();
  void handle();
  void embed();
  void report_health();
  /// Whose request it is and how urgent. Errors: invalid_argument, naming the header or field.
  [[nodiscard]] Result<RequestOptions> options_of(const EmbeddingsRequest& request) const;
  void submit(const std::shared_ptr<Embedding>& embedding);
  void one_done(const std::shared_ptr<Embedding>& embedding, std::size_t index, Result<tidegate::Response> result);
  void fail(const Error& error);
  void reply(unsigned status, std::string body, const char* content_type);
  void write();
  /// Says that no more comes, then reads what the client still sends, within limits:
  /// a socket closed on unread bytes would take the answer with it.
  void close();
  void discard();

  boost::beast::tcp_stream stream_;
  std::shared_ptr<Service> service_;
  boost::beast::flat_buffer buffer_;
  std::optional<boost::beast::http::request_parser<boost::beast::http::string_body>> parser_;
  boost::beast::http::request<boost::beast::http::string_body> request_;
  Response response_;
  std::size_t discarded_ = 0;  ///< bytes read after the last answer
};

}  // namespace tidegate::http
