#include "session.hpp"

#include <fmt/format.h>

#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <nlohmann/json.hpp>

namespace tidegate::http {

namespace asio = boost::asio;
namespace beast = boost::beast;

namespace {

constexpr auto kIdleTimeout = std::chrono::seconds(60);
constexpr auto kLingerTimeout = std::chrono::seconds(5);
constexpr std::size_t kDiscardBlock = 64 << 10;
constexpr std::size_t kMostDiscarded = 256 << 20;
constexpr const char* kJson = "application/json";
constexpr std::size_t kLongestTenant = 256;  // bytes

std::optional<Priority> priority_of(std::string_view name) noexcept {
  for (const Priority one : {Priority::critical, Priority::interactive, Priority::batch}) {
    if (name == to_string(one)) return one;
  }
  return std::nullopt;
}

}  // namespace

/// One POST /v1/embeddings on its way through the engine. Touched on the strand only.
struct Session::Embedding {
  EmbeddingsRequest request;
  RequestOptions options;
  std::vector<Tensor> embeddings;
  std::vector<RequestId> ids;
  std::size_t open = 0;  ///< texts not yet answered
  std::uint64_t tokens = 0;
  bool failed = false;  ///< the client has been told; late answers are dropped
};

Session::Session(asio::ip::tcp::socket&& socket, std::shared_ptr<Service> service)
    : stream_(std::move(socket)), service_(std::move(service)) {}

void Session::start() {
  asio::dispatch(stream_.get_executor(), [self = shared_from_this()] { self->read(); });
}

void Session::read() {
  parser_.emplace();
  parser_->body_limit(service_->body_limit);
  stream_.expires_after(kIdleTimeout);
  beast::http::async_read(
      stream_, buffer_, *parser_, [self = shared_from_this()](beast::error_code error, std::size_t) {
        if (error == beast::http::error::body_limit) {
          ++self->service_->open_requests;
          self->request_ = {};
          self->request_.keep_alive(false);
          return self->fail(Error(ErrorCode::too_large, "the body is larger than the server allows"));
        }
        if (error) return self->close();
        self->request_ = self->parser_->release();
        ++self->service_->open_requests;
        self->handle();
      });
}

void Session::handle() {
  using beast::http::verb;
  const std::string_view path(request_.target().data(), request_.target().size());
  if (path == "/v1/embeddings") {
    if (request_.method() != verb::post)
      return reply(405, render_error({ErrorCode::invalid_argument, "use POST"}), kJson);
    return embed();
  }
  if (request_.method() == verb::get && path == "/health") return report_health();
  if (request_.method() == verb::get && path == "/metrics") {
    return reply(200, to_prometheus(service_->engine.metrics()), "text/plain; version=0.0.4");
  }
  if (request_.method() == verb::get && path == "/v1/models") {
    const nlohmann::json models{
        {"object", "list"}, {"data", {{{"id", service_->model_name}, {"object", "model"}, {"owned_by", "tidegate"}}}}};
    return reply(200, models.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), kJson);
  }
  fail(Error(ErrorCode::not_found, "unknown path; this server answers POST /v1/embeddings"));
}

void Session::report_health() {
  const auto load = service_->engine.scaling_snapshot();
  if (!load) return fail(load.error());
  const double stuck = service_->engine.metrics().value("tidegate_stuck_batches", {{"model", "model"}});
  std::uint32_t slots = 0;
  for (const LaneLoad& lane : load->lanes) slots += lane.slots;
  if (stuck < slots) return reply(200, R"({"status":"ok"})", kJson);
  reply(503,
        fmt::format(R"({{"status":"stuck","reason":"the model has not come back from {} batches and has {} slots"}})",
                    stuck, slots),
        kJson);
}

Result<RequestOptions> Session::options_of(const EmbeddingsRequest& request) const {
  constexpr std::string_view kBearer = "Bearer ";
  RequestOptions options;
  options.tenant = request.user;
  const auto given = request_[beast::http::field::authorization];
  const std::string_view key(given.data(), given.size());
  if (key.starts_with(kBearer)) options.tenant = key.substr(kBearer.size());
  if (options.tenant.size() > kLongestTenant) {
    return Error(ErrorCode::invalid_argument, fmt::format("the API key, or else 'user', has {} bytes; it may have {}",
                                                          options.tenant.size(), kLongestTenant));
  }
  if (const auto header = request_["X-Priority"]; !header.empty()) {
    const auto priority = priority_of({header.data(), header.size()});
    if (!priority) {
      return Error(ErrorCode::invalid_argument, "the header X-Priority must be critical, interactive or batch");
    }
    options.priority = *priority;
  }
  if (service_->timeout > Duration::zero()) options.deadline = std::chrono::steady_clock::now() + service_->timeout;
  return options;
}

void Session::embed() {
  auto parsed = parse_request(request_.body());
  if (!parsed) return fail(parsed.error());
  auto options = options_of(*parsed);
  if (!options) return fail(options.error());
  auto embedding = std::make_shared<Embedding>();
  embedding->request = *std::move(parsed);
  embedding->options = *std::move(options);
  std::string& model = embedding->request.model;
  if (model.empty()) model = service_->model_name;
  if (model != service_->model_name) {
    return fail(Error(ErrorCode::not_found,
                      fmt::format("there is no model '{}'; this server has '{}'", model, service_->model_name)));
  }
  if (service_->tokenizer != nullptr) {
    for (const std::string& text : embedding->request.inputs) {
      if (const auto ids = service_->tokenizer->encode(text)) embedding->tokens += ids->size();
    }
  }
  embedding->embeddings.resize(embedding->request.inputs.size());
  embedding->open = embedding->request.inputs.size();
  stream_.expires_never();  // the engine's deadline bounds the wait, not the socket's
  submit(embedding);
}

void Session::submit(const std::shared_ptr<Embedding>& embedding) {
  for (std::size_t i = 0; i < embedding->request.inputs.size(); ++i) {
    auto accepted = service_->engine.infer(
        {"", std::move(embedding->request.inputs[i]), embedding->options},
        [self = shared_from_this(), embedding, i](Result<tidegate::Response> result) mutable {
          auto& session = *self;
          asio::post(session.stream_.get_executor(),
                     [self = std::move(self), embedding = std::move(embedding), i,
                      result = std::move(result)]() mutable { self->one_done(embedding, i, std::move(result)); });
        });
    if (accepted) {
      embedding->ids.push_back(*accepted);
      continue;
    }
    // All or nothing: what was accepted is withdrawn.
    embedding->failed = true;
    for (const RequestId id : embedding->ids) service_->engine.cancel(id);
    return fail(accepted.error());
  }
}

void Session::one_done(const std::shared_ptr<Embedding>& embedding, std::size_t index,
                       Result<tidegate::Response> result) {
  if (embedding->failed) return;
  if (!result) {
    embedding->failed = true;
    for (const RequestId id : embedding->ids) service_->engine.cancel(id);
    return fail(result.error());
  }
  embedding->embeddings[index] = std::move(result->outputs.at(0));
  if (--embedding->open > 0) return;
  reply(200, render_response(embedding->request, embedding->embeddings, embedding->tokens), kJson);
}

void Session::fail(const Error& error) {
  const unsigned status = http_status(error.code());
  response_ = {};
  if (status == 429 || status == 503) {
    response_.set(beast::http::field::retry_after, std::to_string(retry_after_seconds(error)));
  }
  reply(status, render_error(error), kJson);
}

void Session::reply(unsigned status, std::string body, const char* content_type) {
  response_.version(11);
  response_.result(status);
  response_.set(beast::http::field::server, "tidegate");
  response_.set(beast::http::field::content_type, content_type);
  response_.keep_alive(request_.keep_alive());
  response_.body() = std::move(body);
  response_.prepare_payload();
  write();
}

void Session::write() {
  stream_.expires_after(kIdleTimeout);
  beast::http::async_write(stream_, response_, [self = shared_from_this()](beast::error_code error, std::size_t) {
    const bool keep_alive = self->response_.keep_alive();
    if (--self->service_->open_requests == 0 && self->service_->on_quiet) self->service_->on_quiet();
    self->response_ = {};
    if (error || !keep_alive) return self->close();
    self->read();
  });
}

void Session::close() {
  beast::error_code ignored;
  stream_.socket().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  stream_.expires_after(kLingerTimeout);
  discard();
}

void Session::discard() {
  buffer_.clear();
  stream_.async_read_some(buffer_.prepare(kDiscardBlock),
                          [self = shared_from_this()](beast::error_code error, std::size_t read) {
                            self->discarded_ += read;
                            if (!error && self->discarded_ < kMostDiscarded) self->discard();
                          });
}

}  // namespace tidegate::http
