// Calls from threads that the engine cannot join are waited for.
#include "engine/visits.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <future>

namespace tidegate {

TEST_CASE("engine visits: another thread's visit is waited for, one's own is not") {
  Visits visits;
  std::promise<void> entered;
  std::promise<void> leave;
  std::atomic<bool> leaving{false};
  std::thread visitor([&] {
    const Visits::Visit visit(visits);
    entered.set_value();
    leave.get_future().wait();
    leaving = true;
  });
  entered.get_future().wait();
  {
    const Visits::Visit own(visits);
    leave.set_value();
    visits.await_others();
    CHECK(leaving.load());
  }
  visitor.join();
  visits.await_others();
}

}  // namespace tidegate
