// BlockSignals: keeps the host's signal handlers off the library's threads.
#pragma once

#include <pthread.h>
#include <signal.h>

namespace tidegate {

/// Blocks every signal for the threads started in its scope.
class BlockSignals {
 public:
  BlockSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~BlockSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  BlockSignals(const BlockSignals&) = delete;
  BlockSignals& operator=(const BlockSignals&) = delete;

 private:
  sigset_t before_;
};

}  // namespace tidegate
