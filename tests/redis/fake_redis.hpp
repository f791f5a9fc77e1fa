// FakeRedis: a server inside the test that answers as Redis does, or as told.
#pragma once

#include <netinet/tcp.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "redis_rig.hpp"
#include "redis_wire.hpp"

namespace tidegate::test {

using Command = std::vector<std::string>;

/// Thread-safe. One thread for each connection.
class FakeRedis {
 public:
  /// What is sent for a command; `close`: and then hung up.
  struct Act {
    std::string bytes;
    enum After { go_on, close } after = go_on;
  };
  /// Empty = as Redis does. Called under no lock, on the connection's thread; it may block
  /// in `hold`.
  using Script = std::function<std::optional<Act>(const Command&)>;

  explicit FakeRedis(Script script = {}) : script_(std::move(script)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    ::bind(listener_, reinterpret_cast<const sockaddr*>(&address), size);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    ::listen(listener_, 64);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { accept_all(); });
  }

  ~FakeRedis() {
    release();
    stopping_ = true;
    ::shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    ::close(listener_);
    hang_up();
    for (auto& thread : threads_) thread.join();
    for (const int fd : all_) ::close(fd);
  }

  /// Blocks the connection's thread until `release`.
  void hold() {
    std::unique_lock lock(mutex_);
    ++held_;
    changed_.wait(lock, [this] { return released_; });
    --held_;
  }
  void release() {
    const std::lock_guard lock(mutex_);
    released_ = true;
    changed_.notify_all();
  }
  [[nodiscard]] int held() {
    const std::lock_guard lock(mutex_);
    return held_;
  }

  void hang_up() {
    const std::lock_guard lock(mutex_);
    for (const int fd : all_) ::shutdown(fd, SHUT_RDWR);
  }

  /// How often a command came, and the last ones of its kind.
  [[nodiscard]] std::vector<Command> seen(const std::string& name) {
    const std::lock_guard lock(mutex_);
    std::vector<Command> found;
    for (const Command& command : log_) {
      if (command[0] == name) found.push_back(command);
    }
    return found;
  }
  [[nodiscard]] std::size_t commands() {
    const std::lock_guard lock(mutex_);
    return log_.size();
  }

  std::map<std::string, std::string> data() {
    const std::lock_guard lock(mutex_);
    return data_;
  }
  void put(const std::string& key, const std::string& value) {
    const std::lock_guard lock(mutex_);
    data_[key] = value;
  }

  /// Connections from now on are not served until `release`, as behind a slow proxy.
  void hold_connections() { holds_connections_ = true; }

  [[nodiscard]] std::uint16_t port() const { return port_; }

  std::string as_redis(const Command& command) {
    const std::lock_guard lock(mutex_);
    return as_redis_locked(command);
  }

 private:
  std::string as_redis_locked(const Command& command) {
    const std::string& name = command[0];
    if (name == "PING") return "+PONG\r\n";
    if (name == "GET") return value_of(command[1]);
    if (name == "MGET") {
      std::string all = "*" + std::to_string(command.size() - 1) + "\r\n";
      for (std::size_t i = 1; i < command.size(); ++i) all += value_of(command[i]);
      return all;
    }
    if (name == "SET") {
      data_[command[1]] = command[2];
      return "+OK\r\n";
    }
    if (name == "UNLINK") return ":" + std::to_string(data_.erase(command[1])) + "\r\n";
    return "-ERR unknown command\r\n";
  }

  std::string value_of(const std::string& key) {
    const auto found = data_.find(key);
    return found == data_.end() ? "$-1\r\n" : bulk_of(found->second);
  }

  void accept_all() {
    for (;;) {
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0 || stopping_) {
        if (fd >= 0) ::close(fd);
        return;
      }
      const int on = 1;
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      const std::lock_guard lock(mutex_);
      all_.push_back(fd);
      threads_.emplace_back([this, fd] { serve(fd); });
    }
  }

  void serve(int fd) {
    if (holds_connections_) hold();
    RespReader reader({64 << 20, 1 << 20});
    char buffer[16384];
    for (;;) {
      auto next = reader.next();
      if (!next) return;
      if (!*next) {
        const ssize_t got = ::recv(fd, buffer, sizeof buffer, 0);
        if (got <= 0) return;
        reader.feed(std::span(buffer, static_cast<std::size_t>(got)));
        continue;
      }
      Command command;
      for (const RedisReply& element : (*next)->elements) command.emplace_back(element.as_text());
      const Act act = take(command);
      ::send(fd, act.bytes.data(), act.bytes.size(), MSG_NOSIGNAL);
      if (act.after == Act::close) {
        ::shutdown(fd, SHUT_RDWR);
        return;
      }
    }
  }

  /// Without a script a command is seen and done in one step: who has seen it finds it done.
  Act take(const Command& command) {
    {
      const std::lock_guard lock(mutex_);
      log_.push_back(command);
      if (!script_) return {as_redis_locked(command)};
    }
    if (std::optional<Act> act = script_(command)) return *std::move(act);
    return {as_redis(command)};
  }

  const Script script_;
  std::uint16_t port_ = 0;
  int listener_ = -1;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> holds_connections_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool released_ = false;
  int held_ = 0;
  std::map<std::string, std::string> data_;
  std::vector<Command> log_;
  std::vector<int> all_;
  std::vector<std::thread> threads_;
  std::thread acceptor_;
};

}  // namespace tidegate::test
