// Who goes first: classes with floors, tenants by tokens, deadlines inside a line.
#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "queue/scheduler_driver.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

using Batches = std::vector<std::vector<std::uint32_t>>;

Setup setup_of(std::uint32_t size, std::uint64_t tokens, std::uint32_t slots) {
  Setup setup;
  setup.batching = {size, tokens, Duration(0)};
  setup.batching.prediction = Prediction::off;
  setup.batching.max_class_wait = std::chrono::hours(1);
  setup.slots = slots;
  return setup;
}

constexpr Who kCritical{Priority::critical, 0};
constexpr Who kInteractive{Priority::interactive, 0};
constexpr Who kBatch{Priority::batch, 0};

/// A core whose queue is refilled all the time, so that every line always has work.
class Backlog {
 public:
  Backlog(const Setup& setup, std::uint32_t depth)
      : core_(setup.batching, setup.admission, 1), batching_(setup.batching), depth_(depth) {}

  void add_line(Priority priority, const char* tenant, std::function<std::uint64_t()> tokens) {
    lines_.push_back({priority, tenant, std::move(tokens)});
  }

  /// Runs batches and calls `visit` after each.
  template <class Visit>
  void run(int batches, Visit&& visit) {
    refill();
    for (int i = 0; i < batches; ++i) {
      now_ += Duration(10);
      if (running_) core_.batch_done(now_, *running_);
      for (const Commands commands = core_.take_commands(); const RunBatch& batch : commands.run) {
        running_ = batch.id;
        for (void* work : batch.works) {
          Item& item = *static_cast<Item*>(work);
          lines_[item.line].served += item.tokens;
          lines_[item.line].longest_wait = std::max(lines_[item.line].longest_wait, i - item.batch);
          --lines_[item.line].waiting;
        }
      }
      batch_ = i;
      refill();
      visit();
    }
  }

  struct Line {
    Priority priority;
    std::string tenant;
    std::function<std::uint64_t()> tokens;
    std::uint64_t served = 0;
    std::uint32_t waiting = 0;
    int longest_wait = 0;  ///< batches
  };
  [[nodiscard]] const Line& line(std::size_t i) const { return lines_[i]; }
  [[nodiscard]] double share(std::size_t i) const {
    double all = 0;
    for (const Line& one : lines_) all += static_cast<double>(one.served);
    return static_cast<double>(lines_[i].served) / all;
  }

 private:
  struct Item {
    std::size_t line;
    std::uint64_t tokens;
    int batch;
  };
  void refill() {
    for (std::size_t i = 0; i < lines_.size(); ++i) {
      for (Line& line = lines_[i]; line.waiting < depth_; ++line.waiting) {
        items_.push_back(std::make_unique<Item>(Item{i, line.tokens(), batch_}));
        Submission submission{items_.back().get(), items_.back().get(), {1, items_.back()->tokens, 0}};
        submission.priority = line.priority;
        submission.tenant = line.tenant;
        REQUIRE(core_.submit(now_, submission));
      }
    }
  }

  SchedulerCore core_;
  BatchingOptions batching_;
  std::uint32_t depth_;
  std::vector<Line> lines_;
  std::vector<std::unique_ptr<Item>> items_;
  TimePoint now_ = at(0);
  std::optional<BatchId> running_;
  int batch_ = 0;
};

}  // namespace

TEST_CASE("queue: a higher class goes first, and lower ones fill what room it leaves") {
  SchedulerDriver driver(setup_of(4, 100, 0));
  driver.submit({}, kNoDeadline, {}, kBatch);
  driver.submit({}, kNoDeadline, {}, kInteractive);
  driver.submit({}, kNoDeadline, {}, kCritical);
  driver.submit({}, kNoDeadline, {}, kBatch);
  driver.submit({}, kNoDeadline, {}, kCritical);
  driver.set_slots(1);
  CHECK(driver.last.started == Batches{{2, 4, 1, 0}});
  driver.finish_all();
}

TEST_CASE("queue 4.13/11: under a flood of critical work the floors of the other classes hold") {
  Setup setup = setup_of(4, 400, 1);
  setup.batching.interactive_floor = 20;
  setup.batching.batch_floor = 5;
  Backlog backlog(setup, 8);
  for (const Priority one : {Priority::critical, Priority::interactive, Priority::batch}) {
    backlog.add_line(one, "", [] { return 100; });
  }
  backlog.run(2000, [] {});
  CHECK(backlog.share(0) == doctest::Approx(0.75).epsilon(0.02));
  CHECK(backlog.share(1) == doctest::Approx(0.20).epsilon(0.02));
  CHECK(backlog.share(2) == doctest::Approx(0.05).epsilon(0.02));
  // Eight wait in a line that gets a batch of four every twenty: none longer than three turns.
  CHECK(backlog.line(2).longest_wait <= 60);
}

TEST_CASE("queue 4.13/11: a class without a floor still opens a batch once it has waited long enough") {
  Setup setup = setup_of(4, 400, 1);
  setup.batching.batch_floor = 0;
  setup.batching.max_class_wait = Duration(100);  // ten batches
  Backlog backlog(setup, 8);
  backlog.add_line(Priority::interactive, "", [] { return 100; });
  backlog.add_line(Priority::batch, "", [] { return 100; });
  backlog.run(1000, [] {});
  CHECK(backlog.share(1) == doctest::Approx(0.1).epsilon(0.15));
  CHECK(backlog.line(1).longest_wait <= 3 * 11);
}

TEST_CASE("queue 4.13/11: ageing takes at most every other batch") {
  Setup setup = setup_of(4, 400, 1);
  setup.batching.max_class_wait = Duration(1);
  Backlog backlog(setup, 8);
  backlog.add_line(Priority::critical, "", [] { return 100; });
  backlog.add_line(Priority::batch, "", [] { return 100; });
  backlog.run(1000, [] {});
  CHECK(backlog.share(0) >= 0.49);
}

TEST_CASE("queue 4.13/12: between tenants that always have work the service differs by two items at most") {
  std::mt19937 random(3);
  Setup setup = setup_of(8, 1000, 1);
  Backlog backlog(setup, 40);
  backlog.add_line(Priority::interactive, "small", [&] { return 1 + random() % 20; });
  backlog.add_line(Priority::interactive, "large", [&] { return 100 + random() % 100; });
  backlog.add_line(Priority::interactive, "mixed", [&] { return random() % 4 == 0 ? 200 : 1 + random() % 30; });
  std::uint64_t widest = 0;
  backlog.run(3000, [&] {
    std::uint64_t least = backlog.line(0).served;
    std::uint64_t most = least;
    for (std::size_t i = 1; i < 3; ++i) {
      least = std::min(least, backlog.line(i).served);
      most = std::max(most, backlog.line(i).served);
    }
    widest = std::max(widest, most - least);
  });
  CHECK(widest <= 2 * 200);
  CHECK(backlog.line(0).served > 100'000);
}

TEST_CASE("queue: a tenant that comes back is lifted to the others, so nobody saves up service") {
  SchedulerDriver driver(setup_of(1, 100, 1));
  const Who busy{Priority::interactive, 1};
  const Who late{Priority::interactive, 2};
  for (int i = 0; i < 11; ++i) driver.submit({1, 10, 0}, kNoDeadline, {}, busy);
  for (std::uint32_t i = 0; i < 6; ++i) driver.done(i);
  const auto first = static_cast<std::uint32_t>(driver.works.size());
  for (int i = 0; i < 4; ++i) driver.submit({1, 10, 0}, kNoDeadline, {}, late);
  std::vector<bool> whose;
  for (std::uint32_t i = 6; i < 14; ++i) {
    driver.done(i);
    whose.push_back(driver.batches.back().works.front() >= first);
  }
  // Alternating, not the newcomer's whole line at once.
  for (std::size_t i = 2; i < 8; ++i) CHECK(whose[i] != whose[i - 1]);
  driver.finish_all();
}

TEST_CASE("queue 4.13/7: equal requests of one class and tenant run in order of arrival") {
  SchedulerDriver driver(setup_of(3, 100, 0));
  for (int i = 0; i < 8; ++i) driver.submit({1, 5, 0}, kNoDeadline, {}, {Priority::interactive, 1});
  driver.set_slots(1);
  driver.finish_all();
  std::vector<std::uint32_t> order;
  for (const auto& batch : driver.batches) order.insert(order.end(), batch.works.begin(), batch.works.end());
  CHECK(std::is_sorted(order.begin(), order.end()));
}

TEST_CASE("queue: in a line the earliest deadline goes first, and no deadline counts as a late one") {
  SchedulerDriver driver(setup_of(2, 100, 0));
  driver.submit();
  driver.submit({}, at(1'000'000'000));
  driver.submit({}, at(5000));
  driver.submit({}, at(4000));
  driver.set_slots(1);
  CHECK(driver.last.started == Batches{{3, 2}});
  driver.done(0);
  CHECK(driver.last.started == Batches{{0, 1}});
  driver.finish_all();
}

TEST_CASE("queue: a flight takes on the class and the deadline of who joins it, and loses the deadline with him") {
  SchedulerDriver driver(setup_of(1, 100, 0));
  driver.submit({}, kNoDeadline, {}, kInteractive);
  driver.submit({}, kNoDeadline, 1, kBatch);
  driver.submit({}, at(9000), 2, kInteractive);
  SUBCASE("class") {
    driver.join(1, kNoDeadline, Priority::critical);
    driver.set_slots(1);
    CHECK(driver.last.started == Batches{{1}});
  }
  SUBCASE("deadline") {
    driver.submit({}, at(8000));
    driver.join(2, at(7000));
    driver.set_slots(1);
    CHECK(driver.last.started == Batches{{2}});
  }
  SUBCASE("deadline of one who left") {
    driver.submit({}, at(8000));
    driver.join(2, at(7000));
    driver.cancel(4);
    driver.set_slots(1);
    CHECK(driver.last.started == Batches{{3}});
  }
  driver.finish_all();
}

TEST_CASE("queue 4.13/27: who was passed over eight times opens the next batch of its line") {
  SchedulerDriver driver(setup_of(2, 10, 0));
  driver.submit({1, 10, 0});  // fits beside nobody
  for (int i = 0; i < 20; ++i) driver.submit({1, 1, 0});
  const auto urgent = [&] { driver.submit({1, 1, 0}, at(1'000'000)); };
  urgent();
  driver.set_slots(1);
  for (std::uint32_t i = 0; i < 8; ++i) {
    CHECK(driver.works[0].place == SchedulerDriver::Work::Place::queued);
    CHECK(driver.batches.back().works.size() == 2);
    urgent();
    driver.done(i);
  }
  CHECK(driver.last.started == Batches{{0}});
  driver.finish_all();
}

TEST_CASE("queue 4.13/28: of one long among 31 short texts the padded layout makes a batch of its own") {
  Setup setup = setup_of(32, 16384, 0);
  SchedulerCore core(setup.batching, setup.admission, 0, BatchLayout::padded);
  int long_text = 0;
  int short_text = 0;
  for (int i = 0; i < 32; ++i) {
    int* const record = i == 5 ? &long_text : &short_text;
    REQUIRE(core.submit(at(i), {record, record, {1, i == 5 ? 500u : 20u, 0}}));
  }
  core.set_slots(at(100), 2);
  const Commands commands = core.take_commands();
  REQUIRE(commands.run.size() == 2);
  CHECK(commands.run[0].works == std::vector<void*>(31, &short_text));
  CHECK(commands.run[1].works == std::vector<void*>{&long_text});
}

TEST_CASE("queue: the padded layout counts tokens as they are computed") {
  Setup setup = setup_of(32, 100, 0);
  SchedulerCore core(setup.batching, setup.admission, 0, BatchLayout::padded);
  int record = 0;
  for (const std::uint64_t tokens : {30, 25, 30, 28}) REQUIRE(core.submit(at(0), {&record, &record, {1, tokens, 0}}));
  core.set_slots(at(1), 1);
  CHECK(core.take_commands().run.front().works.size() == 3);  // 4 * 30 would be 120
}

namespace {

/// A core that remembers so many tenants, without a replica unless one is given.
struct Crowd {
  explicit Crowd(AdmissionOptions options, std::uint32_t slots = 0) : core({}, options, slots) {}
  Result<SchedulerCore::Accepted> submit(const std::string& tenant) {
    Submission submission{&record, &record};
    submission.tenant = tenant;
    return core.submit(now, submission);
  }
  Result<SchedulerCore::Accepted> submit(int tenant) { return submit("tenant " + std::to_string(tenant)); }
  /// Expects a refusal and answers how long to wait.
  Duration refused(int tenant) {
    const std::uint64_t before = core.stats().refused_tenants;
    const auto answer = submit(tenant);
    REQUIRE_FALSE(answer);
    CHECK(answer.error().code() == ErrorCode::overloaded);
    CHECK(answer.error().message().find("admission.max_tenants") != std::string::npos);
    CHECK(core.stats().refused_tenants == before + 1);
    CHECK(core.stats().refused_late == 0);
    observed = answer.error().observed();
    limit = answer.error().limit();
    return answer.error().retry_after();
  }

  SchedulerCore core;
  TimePoint now = at(1);
  int record = 0;
  std::int64_t observed = 0, limit = 0;
};

}  // namespace

TEST_CASE("queue: beyond max_tenants that wait a further one is refused, and idle ones make room") {
  AdmissionOptions options;
  CHECK(options.max_tenants == 4096);
  SUBCASE("as many as by default") {}
  SUBCASE("fewer") { options.max_tenants = 101; }
  const auto most = static_cast<int>(options.max_tenants);
  Crowd crowd(options);
  std::vector<WaiterId> ids;
  int tenant = 0;
  for (; tenant < most; ++tenant) {
    const auto accepted = crowd.submit(tenant);
    REQUIRE(accepted);
    ids.push_back(accepted->id);
  }
  CHECK(crowd.refused(tenant) > Duration::zero());
  CHECK(crowd.observed == most);
  CHECK(crowd.limit == most);
  CHECK(crowd.core.load(crowd.now).arrivals_10s.items == most);  // more replicas would not have helped
  CHECK(crowd.submit(7));
  CHECK(crowd.submit(""));  // nobody's needs no place
  crowd.core.cancel(at(2), ids[100]);
  CHECK(crowd.submit(tenant));
  crowd.refused(tenant + 1);
}

TEST_CASE("queue: a tenant that has used its rates keeps its place until it has them back, and the refusal says when") {
  AdmissionOptions options;
  options.max_tenants = 3;
  options.tenant_limits.requests_per_day = 24;  // one comes back every hour
  options.tenants = {{.name = "listed", .weight = 2}};
  Crowd crowd(options, 1);
  const auto serve = [&](int tenant) {
    REQUIRE(crowd.submit(tenant));
    const Commands commands = crowd.core.take_commands();
    REQUIRE(commands.run.size() == 1);
    crowd.core.batch_done(crowd.now, commands.run.front().id);
    static_cast<void>(crowd.core.take_commands());
  };
  constexpr Duration kHour = std::chrono::hours(1);
  serve(1);
  for (int i = 0; i < 3; ++i) serve(2);
  CHECK(crowd.refused(3) - kHour <= Duration(2));
  crowd.now += kHour / 2;
  serve(1);  // an hour and a half from now
  const Duration wait = crowd.refused(3);
  CHECK(wait >= kHour * 3 / 2);
  CHECK(wait <= kHour * 3 / 2 + Duration(4));
  crowd.now += wait - Duration(4);
  crowd.refused(3);
  crowd.now += Duration(8);
  serve(3);
  CHECK(crowd.refused(4) > Duration::zero());
  REQUIRE(crowd.submit("listed"));
}

TEST_CASE("queue: in a full table of tenants places are given on in any order of work, rates and departures") {
  AdmissionOptions options;
  options.max_tenants = 20;
  options.tenant_limits.requests_per_minute = 20;  // one comes back every three seconds
  Crowd crowd(options, 2);
  std::mt19937 random(12);
  struct Known {
    int work = 0;
    double used = 0;  // of its rate, at `since`
    TimePoint since{};
  };
  std::map<int, Known> known;
  std::map<std::uint64_t, std::vector<int>> running;  // tenants, by batch
  std::vector<std::unique_ptr<int>> works;
  const auto used_now = [&](const Known& one) {
    return std::max(0.0, one.used - std::chrono::duration<double>(crowd.now - one.since).count() / 3);
  };
  int refusals = 0;
  for (int round = 0; round < 20'000; ++round) {
    CAPTURE(round);
    crowd.now += Duration(1 + random() % 200'000'000);
    if (random() % 3 == 0 && !running.empty()) {
      const auto batch = running.begin();
      for (const int tenant : batch->second) --known[tenant].work;
      crowd.core.batch_done(crowd.now, BatchId{batch->first});
      running.erase(batch);
    } else {
      const int tenant = static_cast<int>(random() % 30);
      const auto has_work = [&](const auto& one) { return one.second.work > 0 || used_now(one.second) > 1e-6; };
      const bool keeps_place = known.count(tenant) > 0 && has_work(*known.find(tenant));
      const bool has_place = keeps_place || std::count_if(known.begin(), known.end(), has_work) < 20;
      works.push_back(std::make_unique<int>(tenant));
      Submission submission{works.back().get(), works.back().get()};
      const std::string name = "tenant " + std::to_string(tenant);
      submission.tenant = name;
      const std::uint64_t before = crowd.core.stats().refused_tenants;
      const auto accepted = crowd.core.submit(crowd.now, submission);
      CHECK((crowd.core.stats().refused_tenants > before) == !has_place);
      refusals += has_place ? 0 : 1;
      if (accepted) {
        Known& one = known[tenant];
        one.used = used_now(one) + 1;
        one.since = crowd.now;
        ++one.work;
      }
    }
    for (const RunBatch& batch : crowd.core.take_commands().run) {
      std::vector<int>& tenants = running[static_cast<std::uint64_t>(batch.id)];
      for (void* work : batch.works) tenants.push_back(*static_cast<int*>(work));
    }
  }
  CHECK(refusals > 500);
}

TEST_CASE("queue: a successor goes on with what tenants have used of their rates, within its own limits") {
  AdmissionOptions options;
  options.tenant_limits.requests_per_minute = 10;
  Crowd former(options);
  for (int i = 0; i < 10; ++i) REQUIRE(former.submit("spent"));
  for (int i = 0; i < 4; ++i) REQUIRE(former.submit("half"));
  REQUIRE(former.submit("idle"));
  const TimePoint now = at(1) + std::chrono::milliseconds(6001);  // everybody has got one back
  const auto left = [&](std::uint32_t limit, const std::string& tenant) {
    AdmissionOptions own;
    own.tenant_limits.requests_per_minute = limit;
    Crowd later(own);
    later.core.inherit_rates(now, former.core);
    later.now = now;
    int accepted = 0;
    while (accepted < 100 && later.submit(tenant)) ++accepted;
    return accepted;
  };
  CHECK(left(10, "spent") == 1);
  CHECK(left(10, "half") == 7);
  CHECK(left(10, "idle") == 10);
  CHECK(left(10, "new") == 10);
  CHECK(left(20, "spent") == 11);
  CHECK(left(4, "spent") == 0);
  CHECK(left(4, "half") == 1);
  CHECK(left(0, "spent") == 100);

  // From one without limits nothing is taken over, and who finds no place starts anew.
  Crowd free(AdmissionOptions{});
  REQUIRE(free.submit("spent"));
  Crowd limited(options);
  limited.core.inherit_rates(now, free.core);
  limited.now = now;
  for (int i = 0; i < 10; ++i) CHECK(limited.submit("spent"));
  options.max_tenants = 1;
  Crowd small(options);
  small.core.inherit_rates(now, former.core);
  small.now = now;
  CHECK(small.submit("spent").has_value() + small.submit("half").has_value() == 1);
}
