// KilledChild: another process, ended by SIGKILL.
#pragma once

#include <doctest/doctest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>

extern char** environ;

namespace tidegate::test {

/// A process of tests/cache/disk_writer.cpp that goes on until it is killed.
class KilledChild {
 public:
  KilledChild(const std::string& folder, const std::string& what) {
    std::array<int, 2> ends{};
    REQUIRE(::pipe(ends.data()) == 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    std::string program = TIDEGATE_TEST_DISK_WRITER;
    std::string where = folder;
    std::string kind = what;
    std::array<char*, 4> arguments{program.data(), where.data(), kind.data(), nullptr};
    const int failed = ::posix_spawn(&pid_, program.c_str(), &actions, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    ::close(ends[1]);
    progress_ = ends[0];
    REQUIRE(failed == 0);
  }
  ~KilledChild() { ::close(progress_); }
  KilledChild(const KilledChild&) = delete;
  KilledChild& operator=(const KilledChild&) = delete;

  /// Kills it once it has said so many times that it got on; -1 = it ended by itself before.
  int kill_after(int steps) {
    char step = 0;
    bool alive = true;
    for (int i = 0; alive && i < steps; ++i) {
      ssize_t got = 0;
      while ((got = ::read(progress_, &step, 1)) < 0 && errno == EINTR) {
      }
      alive = got == 1;
    }
    ::kill(pid_, SIGKILL);
    int status = 0;
    ::waitpid(pid_, &status, 0);
    return alive && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL ? 0 : -1;
  }

 private:
  pid_t pid_ = -1;
  int progress_ = -1;
};

}  // namespace tidegate::test
