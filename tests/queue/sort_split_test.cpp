// How a backlog of a padded model is cut by length.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <random>
#include <vector>

#include "queue/scheduler_core.hpp"
#include "queue/scheduler_driver.hpp"
#include "queue/sort_split.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr Ticks kMilli = 1'000'000;

struct Waiting {
  std::uint32_t rows = 1;
  std::uint64_t length = 1;
  std::uint64_t bytes = 0;
  Deadline deadline = kNoDeadline;
};

BatchRules draw_rules(std::mt19937& random) {
  const auto pick = [&](std::uint32_t low, std::uint32_t high) {
    return static_cast<std::uint32_t>(low + random() % (high - low + 1));
  };
  BatchRules rules;
  rules.max_rows = pick(1, 8);
  rules.max_tokens = pick(100, 2000);
  rules.max_bytes = pick(0, 1) == 0 ? 1U << 30U : pick(10, 40);
  rules.cost = {pick(0, 5) * 1e6, pick(0, 20) * 1e3, pick(0, 40) * 1.0, pick(0, 200) * 1e3};
  rules.tail95 = 1 + pick(0, 5) / 10.0;
  rules.now = at(1000);
  return rules;
}

/// What a batch of these takes, written down as the rules are told; never, where it may not run.
double time_of(const BatchRules& rules, std::vector<Waiting> batch) {
  std::stable_sort(batch.begin(), batch.end(), [](const Waiting& a, const Waiting& b) { return a.length < b.length; });
  double rows = 0;
  double bytes = 0;
  double squares = 0;
  double left = kNever;
  const auto longest = static_cast<double>(batch.back().length);
  for (const Waiting& one : batch) {
    rows += one.rows;
    bytes += static_cast<double>(one.bytes);
    squares += one.rows * static_cast<double>(one.length) * static_cast<double>(one.length);
    if (one.deadline != kNoDeadline) left = std::min(left, static_cast<double>((one.deadline - rules.now).count()));
  }
  const auto time = [&](double of_rows, double length) {
    return rules.cost[0] + of_rows * (rules.cost[1] * length + rules.cost[2] * length * length + rules.cost[3]);
  };
  const double mean = time(rows, longest);
  if (batch.size() == 1) return mean;
  if (rows > static_cast<double>(rules.max_rows) || rows * longest > static_cast<double>(rules.max_tokens))
    return kNever;
  if (bytes > static_cast<double>(rules.max_bytes) || rows * longest * longest > 1.5 * squares) return kNever;
  if (mean * rules.tail95 > left) return kNever;
  const Waiting& shortest = batch.front();
  const double alone = time(shortest.rows, static_cast<double>(shortest.length));
  const double added = time(shortest.rows, longest) - rules.cost[0];
  return added > 0.95 * alone * (1 + 1e-12) ? kNever : mean;
}

SortSplit::Plan plan_of(const BatchRules& rules, const std::vector<Waiting>& waiting) {
  SortSplit split(rules);
  for (const Waiting& one : waiting) split.add({one.rows, one.rows * one.length, one.bytes}, one.deadline, 0);
  return split.by_length();
}

/// The least time over all ways to cut the sorted items.
double least_over_cuts(const BatchRules& rules, std::vector<Waiting> sorted) {
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const Waiting& a, const Waiting& b) { return a.length < b.length; });
  double least = kNever;
  for (std::uint32_t cuts = 0; cuts < 1U << (sorted.size() - 1); ++cuts) {
    double total = 0;
    std::vector<Waiting> batch;
    for (std::size_t i = 0; i < sorted.size(); ++i) {
      batch.push_back(sorted[i]);
      if (i + 1 < sorted.size() && (cuts >> i & 1U) == 0) continue;
      total += time_of(rules, batch);
      batch.clear();
    }
    least = std::min(least, total);
  }
  return least;
}

/// The same, of as many items as may be: for every end each begin is tried.
double least_by_trying(const BatchRules& rules, std::vector<Waiting> sorted) {
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const Waiting& a, const Waiting& b) { return a.length < b.length; });
  std::vector<double> least(sorted.size() + 1, kNever);
  least[0] = 0;
  for (std::size_t end = 1; end <= sorted.size(); ++end) {
    double rows = 0;
    for (std::size_t begin = end; begin-- > 0;) {
      rows += sorted[begin].rows;
      if (rows > static_cast<double>(rules.max_rows) && begin + 1 < end) break;
      const auto at = [&](std::size_t i) { return sorted.begin() + static_cast<std::ptrdiff_t>(i); };
      least[end] = std::min(least[end], least[begin] + time_of(rules, {at(begin), at(end)}));
    }
  }
  return least.back();
}

/// The least time over all ways to divide the items, in whatever order.
double least_over_partitions(const BatchRules& rules, const std::vector<Waiting>& waiting) {
  double least = kNever;
  std::vector<std::vector<Waiting>> batches;
  const std::function<void(std::size_t)> place = [&](std::size_t i) {
    if (i == waiting.size()) {
      double total = 0;
      for (const auto& batch : batches) total += time_of(rules, batch);
      least = std::min(least, total);
      return;
    }
    for (std::size_t b = 0; b < batches.size(); ++b) {
      batches[b].push_back(waiting[i]);
      place(i + 1);
      batches[b].pop_back();
    }
    batches.push_back({waiting[i]});
    place(i + 1);
    batches.pop_back();
  };
  place(0);
  return least;
}

}  // namespace

TEST_CASE("queue 4.13/31: the cuts are the best there are, under random costs, caps and deadlines") {
  std::mt19937 random(31);
  const auto pick = [&](std::uint32_t low, std::uint32_t high) {
    return static_cast<std::uint32_t>(low + random() % (high - low + 1));
  };
  int merged = 0;
  for (int round = 0; round < 4000; ++round) {
    CAPTURE(round);
    const BatchRules rules = draw_rules(random);
    std::vector<Waiting> waiting(pick(1, 10));
    for (Waiting& one : waiting) {
      one = {pick(0, 4) == 0 ? pick(1, 3) : 1, pick(1, 100), pick(0, 9), kNoDeadline};
      if (pick(0, 3) == 0) one.deadline = rules.now + Duration(pick(1, 30) * kMilli);
    }
    const SortSplit::Plan plan = plan_of(rules, waiting);
    CHECK(plan.total_ns == doctest::Approx(least_over_cuts(rules, waiting)).epsilon(1e-9));
    merged += plan.batches < waiting.size() ? 1 : 0;
    // The batches are what the plan says: allowed, and of that time together.
    std::map<std::uint16_t, std::vector<Waiting>> batches;
    for (std::size_t i = 0; i < waiting.size(); ++i) batches[plan.batch_of[i]].push_back(waiting[i]);
    double total = 0;
    for (const auto& [number, batch] : batches) total += time_of(rules, batch);
    CHECK(total == doctest::Approx(plan.total_ns).epsilon(1e-9));
    CHECK(batches.size() == plan.batches);
  }
  CHECK(merged > 1000);
}

TEST_CASE("queue 4.13/31: no division at all, sorted or not, takes less time than the cuts") {
  std::mt19937 random(32);
  for (int round = 0; round < 60; ++round) {
    CAPTURE(round);
    BatchRules rules = draw_rules(random);
    rules.max_bytes = 1U << 30U;
    rules.cost[0] = 20e6;
    std::vector<Waiting> waiting(round < 55 ? 7 : 10);
    for (Waiting& one : waiting) one.length = 80 + random() % 20;  // the padding rule binds nowhere
    CHECK(plan_of(rules, waiting).total_ns == doctest::Approx(least_over_partitions(rules, waiting)).epsilon(1e-9));
  }
}

TEST_CASE("queue 4.13/31: the cuts of as many items as are planned take what trying every batch takes") {
  std::mt19937 random(33);
  const auto pick = [&](std::uint32_t low, std::uint32_t high) {
    return static_cast<std::uint32_t>(low + random() % (high - low + 1));
  };
  int merged = 0;
  for (int round = 0; round < 300; ++round) {
    CAPTURE(round);
    BatchRules rules = draw_rules(random);
    rules.max_rows = pick(1, 40);
    rules.max_tokens = pick(100, 8000);
    // Equal lengths, few, many, and such as take more than two bytes.
    const std::uint32_t longest = std::vector<std::uint32_t>{1, 5, 100, 1000, 100'000}[round % 5];
    if (longest > 1000) rules.max_tokens = 2'000'000;
    const std::uint32_t one_of = pick(1, 40);
    std::vector<Waiting> waiting(pick(1, SortSplit::kMost));
    for (Waiting& one : waiting) {
      one = {pick(0, one_of) == 0 ? pick(1, 5) : 1, pick(1, longest), pick(0, 9), kNoDeadline};
      if (pick(0, one_of) == 0) one.deadline = rules.now + Duration(pick(1, 60) * kMilli);
    }
    const SortSplit::Plan plan = plan_of(rules, waiting);
    CHECK(plan.total_ns == doctest::Approx(least_by_trying(rules, waiting)).epsilon(1e-9));
    merged += 2 * plan.batches < waiting.size() ? 1 : 0;
    std::map<std::uint16_t, std::vector<Waiting>> batches;
    for (std::size_t i = 0; i < waiting.size(); ++i) batches[plan.batch_of[i]].push_back(waiting[i]);
    double total = 0;
    for (const auto& [number, batch] : batches) total += time_of(rules, batch);
    CHECK(total == doctest::Approx(plan.total_ns).epsilon(1e-9));
    CHECK(batches.size() == plan.batches);
  }
  CHECK(merged > 50);
}

TEST_CASE("queue: cuts are made where they save three percent and make nobody late, and only there") {
  std::mt19937 random(34);
  int made = 0;
  int too_little = 0;
  int too_late = 0;
  for (int round = 0; round < 2000; ++round) {
    CAPTURE(round);
    BatchRules rules = draw_rules(random);
    rules.max_rows = 8;
    rules.max_bytes = 1U << 30U;
    rules.tail95 = 1;
    SortSplit split(rules);
    std::vector<std::uint64_t> lengths;
    for (int i = 0; i < 40; ++i) {
      lengths.push_back(20 + random() % 80);
      const bool hurries = random() % 40 == 0;
      split.add({1, lengths.back(), 0}, hurries ? rules.now + Duration((20 + random() % 100) * kMilli) : kNoDeadline,
                0);
    }
    const auto cut = split.cut();
    const SortSplit::Plan greedy = split.by_nearness();
    const SortSplit::Plan best = split.by_length();
    const bool saves = best.total_ns <= 0.97 * greedy.total_ns;
    const bool late = best.late > greedy.late;
    REQUIRE(cut.has_value() == (saves && !late));
    made += cut ? 1 : 0;
    too_little += saves ? 0 : 1;
    too_late += saves && late ? 1 : 0;
    if (!cut) continue;
    // It is the anchor's batch, from its shortest to its longest.
    CHECK(cut->holds(lengths[0]));
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      if (best.batch_of[i] == best.batch_of[0]) CHECK(cut->holds(lengths[i]));
    }
  }
  CHECK(made > 100);
  CHECK(too_little > 100);
  CHECK(too_late > 0);
}

// ---- in the queue ---------------------------------------------------------------------

namespace {

/// A padded model with always the same number of requests waiting, in lines of class and tenant.
class Backlog {
 public:
  struct Line {
    Priority priority = Priority::interactive;
    std::string tenant;
    std::uint32_t depth = 100;
    std::function<std::uint64_t(std::mt19937&)> length;
    double served = 0;
    std::uint32_t waiting = 0;
    Duration longest_wait{0};
  };

  Backlog(Grouping grouping, BatchLayout layout, std::vector<Line> lines)
      : layout_(layout),
        lines_(std::move(lines)),
        core_(batching(grouping), {100'000, 1ULL << 40, 1ULL << 40}, 1, layout) {}

  /// Runs so many batches; `visit` after each. Answers nanoseconds of the model per token.
  double run(
      int batches, const std::function<void()>& visit = [] {}) {
    double busy = 0;
    double tokens = 0;
    for (int i = 0; i < batches; ++i) {
      refill();
      Commands commands = core_.take_commands();
      if (!commands.run.empty()) running_ = std::move(commands.run.back());
      BatchShape shape;
      for (void* one : running_.works) {
        const Item& item = *static_cast<Item*>(one);
        Line& line = lines_[item.line];
        shape.add(item.size);
        --line.waiting;
        line.served += static_cast<double>(item.size.tokens);
        line.longest_wait = std::max(line.longest_wait, now_ - item.arrival);
      }
      const double ns = 2e6 + 9e3 * shape.computed_tokens(layout_) + 15e3 * static_cast<double>(shape.rows);
      busy += ns;
      tokens += static_cast<double>(shape.tokens);
      now_ += Duration(static_cast<Ticks>(ns));
      core_.batch_done(now_, running_.id);
      visit();
    }
    return busy / tokens;
  }

  [[nodiscard]] std::size_t cuts() const {
    const auto decisions = core_.decisions();
    for (const BatchDecision& one : decisions) {
      CHECK((one.cut_items > 0) == (to_text(one).find("cut by length") != std::string::npos));
      if (one.cut_items > 0) CHECK(one.cut_to.count() <= 0.97 * static_cast<double>(one.cut_from.count()) + 1);
    }
    return static_cast<std::size_t>(
        std::count_if(decisions.begin(), decisions.end(), [](const BatchDecision& one) { return one.cut_items > 0; }));
  }
  [[nodiscard]] Line& line(std::size_t i) { return lines_[i]; }
  [[nodiscard]] double share(std::size_t i) const {
    double all = 0;
    for (const Line& one : lines_) all += one.served;
    return lines_[i].served / all;
  }

 private:
  struct Item {
    std::size_t line;
    ItemSize size;
    TimePoint arrival;
  };
  static BatchingOptions batching(Grouping grouping) {
    BatchingOptions options;
    options.max_batch_tokens = 4096;
    options.grouping = grouping;
    return options;
  }
  void refill() {
    for (std::size_t i = 0; i < lines_.size(); ++i) {
      for (Line& line = lines_[i]; line.waiting < line.depth; ++line.waiting) {
        items_.push_back({i, {1, line.length(random_), 0}, now_});
        Submission submission{&items_.back(), &items_.back(), items_.back().size};
        submission.priority = line.priority;
        submission.tenant = line.tenant;
        REQUIRE(core_.submit(now_, submission));
      }
    }
  }

  BatchLayout layout_;
  std::vector<Line> lines_;
  SchedulerCore core_;
  std::mt19937 random_{5};
  std::deque<Item> items_;
  RunBatch running_;
  TimePoint now_ = at(0);
};

/// Seven of ten are queries of a dozen tokens, the others passages of 134.
std::uint64_t mixed_length(std::mt19937& random) {
  std::lognormal_distribution<double> query(2.5, 0.5);
  std::lognormal_distribution<double> passage(4.9, 0.6);
  const double length = random() % 10 < 7 ? query(random) : passage(random);
  return static_cast<std::uint64_t>(std::clamp(length, 3.0, 512.0));
}

}  // namespace

TEST_CASE("queue: cut by length, a backlog of mixed lengths takes a padded model a twentieth less time") {
  for (const std::uint32_t depth : {100U, 1000U}) {
    const auto cost = [&](Grouping grouping, BatchLayout layout) {
      Backlog backlog(grouping, layout, {{.depth = depth, .length = mixed_length}});
      backlog.run(500);
      const double per_token = backlog.run(2000);
      if (grouping == Grouping::nearest || layout == BatchLayout::packed) {
        CHECK(backlog.cuts() == 0);
      } else {
        CHECK(backlog.cuts() > 128);
      }
      return per_token;
    };
    CHECK(cost(Grouping::by_length, BatchLayout::padded) < 0.95 * cost(Grouping::nearest, BatchLayout::padded));
    // Packed, the time is a sum over rows, and there is nothing to be cut.
    CHECK(cost(Grouping::by_length, BatchLayout::packed) == cost(Grouping::nearest, BatchLayout::packed));
  }
}

TEST_CASE("queue 4.13/11: cut by length, floors of classes hold and nobody starves for his length") {
  Backlog backlog(Grouping::by_length, BatchLayout::padded,
                  {{.priority = Priority::interactive, .length = mixed_length},
                   {.priority = Priority::batch, .length = mixed_length}});
  backlog.run(3000);
  CHECK(backlog.cuts() > 50);
  CHECK(backlog.share(1) >= 0.045);
  // A hundred wait, of which a batch takes a dozen, and none is passed over more than eight times
  // before it opens one itself.
  CHECK(backlog.line(0).longest_wait < std::chrono::milliseconds(2000));
}

TEST_CASE("queue 4.13/12: cut by length, tenants with work stay as close to each other as without cuts") {
  std::vector<double> widest;
  for (const Grouping grouping : {Grouping::nearest, Grouping::by_length}) {
    Backlog backlog(grouping, BatchLayout::padded,
                    {{.tenant = "short", .length = [](std::mt19937& random) { return 3 + random() % 20; }},
                     {.tenant = "long", .length = [](std::mt19937& random) { return 100 + random() % 200; }},
                     {.tenant = "mixed", .length = mixed_length}});
    double gap = 0;
    backlog.run(4000, [&] {
      const auto [least, most] = std::minmax({backlog.line(0).served, backlog.line(1).served, backlog.line(2).served});
      gap = std::max(gap, most - least);
    });
    widest.push_back(gap);
    CHECK((backlog.cuts() > 10) == (grouping == Grouping::by_length));
    CHECK(backlog.line(0).served > 800'000);
  }
  // A batch whose lengths do not suit a tenant passes it by: two batches' tokens, and a few items.
  CHECK(widest[0] <= 2.2 * 4096);
  CHECK(widest[1] <= 2.2 * 4096);
}

namespace {

/// The one line of a queue as it should be: who stands first, and who was overtaken how often.
class Line {
 public:
  void enter(std::uint32_t work, TimePoint order) { places_[work] = {order}; }
  void leave(std::uint32_t work) { places_.erase(work); }
  void run(const std::vector<std::uint32_t>& works) {
    auto first = places_.begin()->first;
    for (const auto& [work, place] : places_) first = key(work) < key(first) ? work : first;
    REQUIRE(works.front() == first);
    auto furthest = key(first);
    for (const std::uint32_t work : works) furthest = std::max(furthest, key(work));
    for (auto& [work, place] : places_) {
      const bool runs = std::find(works.begin(), works.end(), work) != works.end();
      if (!runs && key(work) < furthest) place.overtaken = std::min(8, place.overtaken + 1);
    }
    for (const std::uint32_t work : works) places_.erase(work);
  }

 private:
  struct Place {
    TimePoint order;
    int overtaken = 0;
  };
  [[nodiscard]] std::pair<TimePoint, std::uint32_t> key(std::uint32_t work) const {
    const Place& place = places_.at(work);
    return {place.overtaken >= 8 ? TimePoint::min() : place.order, work};
  }
  std::map<std::uint32_t, Place> places_;  ///< by work
};

}  // namespace

TEST_CASE("queue 4.13/26, 27: cut by length, every batch holds the first of the line, and eight times is the most") {
  Setup setup;
  setup.layout = BatchLayout::padded;
  setup.batching.max_batch_size = 8;
  setup.admission.max_queued_items = 200;
  SchedulerDriver driver(setup);
  std::mt19937 random(26);
  Line line;
  std::size_t seen = 0;
  const auto check_batches = [&] {
    for (; seen < driver.batches.size(); ++seen) line.run(driver.batches[seen].works);
  };
  for (int round = 0; round < 600; ++round) {
    for (int i = 0; i < (round % 50 < 25 ? 12 : 5); ++i) {
      const Deadline deadline =
          random() % 3 == 0 ? driver.now + Duration((500 + random() % 500) * kMilli) : kNoDeadline;
      const auto work = static_cast<std::uint32_t>(driver.works.size());
      const TimePoint order = deadline == kNoDeadline ? driver.now + Duration(100 * kMilli) : deadline;
      if (driver.submit({1, mixed_length(random), 0}, deadline)) line.enter(work, order);
      check_batches();
    }
    const auto batch = static_cast<std::uint32_t>(driver.batches.size() - 1);
    if (driver.batches[batch].done) continue;
    std::uint64_t longest = 0;
    for (const std::uint32_t work : driver.batches[batch].works) {
      longest = std::max(longest, driver.works[work].size.tokens);
    }
    const auto rows = static_cast<Ticks>(driver.batches[batch].works.size());
    driver.now += Duration(2 * kMilli + 9'000 * rows * static_cast<Ticks>(longest));
    driver.done(batch);
    for (const auto& end : driver.last.ended) {
      if (end.outcome != Outcome::answered) line.leave(driver.requests[end.request].work);
    }
    check_batches();
  }
  const auto decisions = driver.core.decisions();
  const auto is_cut = [](const BatchDecision& one) { return one.cut_items > 0; };
  CHECK(std::count_if(decisions.begin(), decisions.end(), is_cut) > 30);
}
