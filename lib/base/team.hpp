// Team: threads that work on one job in step.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

namespace tidegate {

/// A part [begin, end) of some work.
struct WorkShare {
  std::size_t begin;
  std::size_t end;
};

/// `size` threads, the caller of `run` being the first of them. A member without work
/// spins for 50 us, so that jobs and their steps follow one another without the cost of
/// waking a thread, then parks: an idle team costs nothing. Its threads block all
/// signals.
class Team {
 public:
  /// Throws std::system_error, with no thread left running, if the system has none to
  /// give. `name` has at most 15 bytes. `size` >= 1.
  Team(const std::string& name, std::size_t size);
  /// No job may be running.
  ~Team();

  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  /// Calls job(member) on every thread, member being 0 (the caller) to size() - 1;
  /// returns when all are done. One caller at a time; a job must not throw. Allocates
  /// nothing.
  template <class Job>
  void run(Job& job) {
    run_all({[](void* context, std::size_t member) { (*static_cast<Job*>(context))(member); }, &job});
  }

  /// Within a job: returns once every member has called it as often. What members wrote
  /// before is seen by all after.
  void meet() noexcept;

  /// A member's part of `items`; parts differ by one item at most.
  [[nodiscard]] static WorkShare share_of(std::size_t items, std::size_t member, std::size_t members) noexcept {
    return {items * member / members, items * (member + 1) / members};
  }

 private:
  struct Call {
    void (*function)(void* context, std::size_t member);
    void* context;
  };

  void run_all(Call call);
  void loop(std::size_t member);
  void stop() noexcept;

  const std::size_t size_;
  // Orders everything between members: written last with release, read with acquire.
  alignas(64) std::atomic<std::uint32_t> meeting_{0};  // meetings held so far
  alignas(64) std::atomic<std::uint32_t> arrived_{0};  // members at the present meeting
  alignas(64) std::atomic<std::uint32_t> job_{0};      // jobs begun so far
  Call call_{};                                        // of the present job; written before job_
  bool stopping_ = false;                              // as call_
  std::vector<std::thread> threads_;
};

}  // namespace tidegate
