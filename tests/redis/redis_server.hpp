// RedisServer: a real redis-server on a free loopback port, for one test.
#pragma once

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>

#include "redis_rig.hpp"
#include "support/temporary_folder.hpp"

namespace tidegate::test {

inline bool has_redis_server() {
  if (*TIDEGATE_TEST_REDIS_SERVER != '\0') return true;
  MESSAGE("skipped: there is no redis-server; install it and configure again");
  return false;
}

inline std::uint16_t free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ::bind(fd, reinterpret_cast<const sockaddr*>(&address), size);
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  ::close(fd);
  return ntohs(address.sin_port);
}

class RedisServer {
 public:
  explicit RedisServer(std::vector<std::string> extra = {}) : extra_(std::move(extra)), port_(free_port()) { start(); }
  ~RedisServer() { stop(); }
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;

  void start() {
    std::vector<std::string> words{TIDEGATE_TEST_REDIS_SERVER,
                                   "--port",
                                   std::to_string(port_),
                                   "--bind",
                                   "127.0.0.1",
                                   "--save",
                                   "",
                                   "--appendonly",
                                   "no",
                                   "--logfile",
                                   "/dev/null",
                                   "--dir",
                                   folder_.path()};
    words.insert(words.end(), extra_.begin(), extra_.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
    REQUIRE(eventually([&] { return command(port_, {"PING"}).has_value(); }));
    REQUIRE(::waitpid(pid_, nullptr, WNOHANG) == 0);  // it is ours that answers
  }

  /// Waits until it is gone; what it held is lost.
  void stop() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

  void hang() { ::kill(pid_, SIGSTOP); }
  void go_on() { ::kill(pid_, SIGCONT); }

  RedisReply run(std::vector<std::string> arguments) {
    auto reply = command(port_, std::move(arguments));
    REQUIRE(reply);
    return *std::move(reply);
  }

  [[nodiscard]] std::uint16_t port() const { return port_; }

 private:
  const std::vector<std::string> extra_;
  const std::uint16_t port_;
  TemporaryFolder folder_;
  pid_t pid_ = -1;
};

}  // namespace tidegate::test
