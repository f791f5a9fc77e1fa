#include "cache/redis/redis_network.hpp"

#include <boost/asio/connect.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <limits>

#include "base/try.hpp"
#include "cache/redis/redis_address.hpp"

namespace tidegate {

namespace asio = boost::asio;
using boost::system::error_code;
using Socket = asio::generic::stream_protocol::socket;
using Place = asio::generic::stream_protocol::endpoint;

struct RedisLoop::Impl : std::enable_shared_from_this<Impl> {
  Impl(std::shared_ptr<Clock> c, std::shared_ptr<Clock> a) : clock(std::move(c)), alarms(std::move(a)) {}

  void wake() {
    armed_for = TimePoint::max();
    if (on_wake) on_wake();
  }

  const std::shared_ptr<Clock> clock;
  const std::shared_ptr<Clock> alarms;
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> guard{context.get_executor()};
  asio::steady_timer timer{context};
  TimePoint armed_for = TimePoint::max();
  AlarmId alarm = 0;
  UniqueFunction<void()> on_wake;
};

RedisLoop::RedisLoop(std::shared_ptr<Clock> clock, std::shared_ptr<Clock> alarms)
    : impl_(std::make_shared<Impl>(std::move(clock), std::move(alarms))) {}

RedisLoop::~RedisLoop() = default;

void RedisLoop::run(UniqueFunction<void()> on_wake) {
  impl_->on_wake = std::move(on_wake);
  for (bool ended = false; !ended;) {
    try {
      impl_->context.run();
      ended = true;
    } catch (...) {
      // Memory ran out: what it was for is missed by its deadline.
    }
  }
  impl_->on_wake = nullptr;
  if (impl_->alarms != nullptr && impl_->armed_for != TimePoint::max()) impl_->alarms->cancel(impl_->alarm);
}

void RedisLoop::post(UniqueFunction<void()> task) {
  asio::post(impl_->context, [task = std::move(task)]() mutable { task(); });
}

bool RedisLoop::inside() const noexcept { return impl_->context.get_executor().running_in_this_thread(); }

void RedisLoop::stop() { impl_->context.stop(); }

TimePoint RedisLoop::now() const noexcept { return impl_->clock->now(); }

void RedisLoop::wake_at(TimePoint when) {
  Impl& loop = *impl_;
  if (when >= loop.armed_for) return;
  if (loop.alarms != nullptr) {
    if (loop.armed_for != TimePoint::max()) loop.alarms->cancel(loop.alarm);
    loop.armed_for = when;
    loop.alarm = loop.alarms->call_at(when, [weak = loop.weak_from_this()] {
      const auto self = weak.lock();
      if (self != nullptr)
        asio::post(self->context, [weak] {
          if (const auto alive = weak.lock()) alive->wake();
        });
    });
    return;
  }
  loop.armed_for = when;
  loop.timer.expires_at(when);
  loop.timer.async_wait([&loop](const error_code& error) {
    if (!error) loop.wake();
  });
}

struct RedisEndpoint::Impl {
  RedisAddress address;
  std::string server_name;
  std::unique_ptr<asio::ssl::context> tls;  ///< empty = off
};

RedisEndpoint::RedisEndpoint() : impl_(std::make_unique<Impl>()) {}
RedisEndpoint::~RedisEndpoint() = default;

namespace {

Error unusable(const char* option, const std::string& file, const error_code& error) {
  return {ErrorCode::io_error, std::string(option) + " '" + file + "': " + error.message()};
}

Result<std::unique_ptr<asio::ssl::context>> make_tls(const RedisCacheOptions& options) {
  auto tls = std::make_unique<asio::ssl::context>(asio::ssl::context::tls_client);
  error_code error;
  if (options.tls_ca_file.empty()) {
    tls->set_default_verify_paths(error);
  } else {
    tls->load_verify_file(options.tls_ca_file, error);
  }
  if (error) return unusable("cache.redis.tls_ca_file", options.tls_ca_file, error);
  if (!options.tls_cert_file.empty()) {
    tls->use_certificate_chain_file(options.tls_cert_file, error);
    if (error) return unusable("cache.redis.tls_cert_file", options.tls_cert_file, error);
    tls->use_private_key_file(options.tls_key_file, asio::ssl::context::pem, error);
    if (error) return unusable("cache.redis.tls_key_file", options.tls_key_file, error);
  }
  tls->set_verify_mode(asio::ssl::verify_peer, error);
  if (error) return unusable("cache.redis.tls", "on", error);
  return tls;
}

}  // namespace

Result<std::shared_ptr<const RedisEndpoint>> RedisEndpoint::make(const RedisCacheOptions& options) {
  const std::shared_ptr<RedisEndpoint> made(new RedisEndpoint);
  TIDEGATE_TRY(made->impl_->address, parse_redis_address(options.address));
  made->impl_->server_name = options.tls_server_name.empty() ? made->impl_->address.host : options.tls_server_name;
  if (options.tls == RedisTls::on) {
    TIDEGATE_TRY(made->impl_->tls, make_tls(options));
  }
  return std::shared_ptr<const RedisEndpoint>(made);
}

namespace {

constexpr std::size_t kReadBytes = 64 * 1024;

class AsioConnection final : public RedisConnection {
 public:
  AsioConnection(RedisLoop::Impl& loop, std::shared_ptr<const RedisEndpoint> endpoint, ReplyLimits limits,
                 Handlers handlers)
      : endpoint_(std::move(endpoint)),
        socket_(loop.context),
        resolver_(loop.context),
        reader_(limits),
        handlers_(std::move(handlers)) {
    if (endpoint_->impl().tls != nullptr) tls_.emplace(socket_, *endpoint_->impl().tls);
  }

  void start() {
    const RedisAddress& address = endpoint_->impl().address;
    if (!address.path.empty()) {
      places_.push_back(asio::local::stream_protocol::endpoint(address.path));
      later(&AsioConnection::connect_next);
      return;
    }
    error_code not_numeric;
    const auto numeric = asio::ip::make_address(address.host, not_numeric);
    if (!not_numeric) {
      places_.push_back(asio::ip::tcp::endpoint(numeric, address.port));
      later(&AsioConnection::connect_next);
      return;
    }
    resolver_.async_resolve(address.host, std::to_string(address.port),
                            [self = self()](const error_code& error, const auto& found) {
                              if (self->closed_) return;
                              if (error) return self->fail(error.message());
                              for (const auto& one : found) self->places_.push_back(one.endpoint());
                              self->connect_next();
                            });
  }

  void send(std::span<const std::string_view> arguments) override { append_command(waiting_, arguments); }

  void flush() override {
    if (closed_ || !up_ || !sending_.empty() || waiting_.empty()) return;
    sending_.swap(waiting_);
    on_stream([this](auto& stream) {
      asio::async_write(stream, asio::buffer(sending_), [self = self()](const error_code& error, std::size_t) {
        if (self->closed_) return;
        if (error) return self->fail(error.message());
        self->sending_.clear();
        self->flush();
      });
    });
  }

  void close() override {
    if (closed_) return;
    closed_ = true;
    resolver_.cancel();
    error_code ignored;
    socket_.close(ignored);
    // Handlers may hold their owner, which holds this; they may also run just now.
    asio::post(socket_.get_executor(), [self = self()] { self->handlers_ = {}; });
  }

 private:
  std::shared_ptr<AsioConnection> self() { return std::static_pointer_cast<AsioConnection>(shared_from_this()); }

  template <class Use>
  void on_stream(Use use) {
    if (tls_) {
      use(*tls_);
    } else {
      use(socket_);
    }
  }

  void later(void (AsioConnection::*step)()) {
    asio::post(socket_.get_executor(), [self = self(), step] {
      if (!self->closed_) (*self.*step)();
    });
  }

  void fail(std::string why) { fail(Error(ErrorCode::unavailable, std::move(why))); }

  void fail(const Error& why) {
    if (closed_) return;
    const auto keep = self();
    close();
    if (handlers_.down) handlers_.down(why);
  }

  void connect_next() {
    if (next_place_ == places_.size()) return fail(last_error_.empty() ? "no address of that name" : last_error_);
    error_code ignored;
    socket_.close(ignored);
    socket_.async_connect(places_[next_place_++], [self = self()](const error_code& error) {
      if (self->closed_) return;
      if (error) {
        self->last_error_ = error.message();
        return self->connect_next();
      }
      self->connected();
    });
  }

  void connected() {
    if (endpoint_->impl().address.path.empty()) {
      error_code ignored;
      socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
    }
    if (!tls_) return come_up();
    const std::string& name = endpoint_->impl().server_name;
    SSL_set_tlsext_host_name(tls_->native_handle(), name.c_str());
    tls_->set_verify_callback(asio::ssl::host_name_verification(name));
    tls_->async_handshake(asio::ssl::stream_base::client, [self = self()](const error_code& error) {
      if (self->closed_) return;
      if (error) return self->fail("TLS: " + error.message());
      self->come_up();
    });
  }

  void come_up() {
    up_ = true;
    read();
    handlers_.up();
    flush();
  }

  void read() {
    on_stream([this](auto& stream) {
      stream.async_read_some(asio::buffer(buffer_), [self = self()](const error_code& error, std::size_t bytes) {
        if (self->closed_) return;
        if (error) return self->fail(error.message());
        self->take(std::span(self->buffer_.data(), bytes));
      });
    });
  }

  void take(std::span<const char> bytes) {
    reader_.feed(bytes);
    while (!closed_) {
      auto reply = reader_.next();
      if (!reply) return fail(reply.error());
      if (!*reply) return read();
      handlers_.reply(*std::move(*reply));
    }
  }

  const std::shared_ptr<const RedisEndpoint> endpoint_;
  Socket socket_;
  std::optional<asio::ssl::stream<Socket&>> tls_;
  asio::ip::tcp::resolver resolver_;
  std::vector<Place> places_;
  std::size_t next_place_ = 0;
  std::string last_error_;
  std::vector<char> buffer_ = std::vector<char>(kReadBytes);
  std::string waiting_;
  std::string sending_;
  RespReader reader_;
  Handlers handlers_;
  bool up_ = false;
  bool closed_ = false;
};

}  // namespace

std::shared_ptr<RedisConnection> RedisConnection::open(RedisLoop& loop, std::shared_ptr<const RedisEndpoint> endpoint,
                                                       ReplyLimits limits, Handlers handlers) {
  const auto made = std::make_shared<AsioConnection>(loop.impl(), std::move(endpoint), limits, std::move(handlers));
  made->start();
  return made;
}

}  // namespace tidegate
