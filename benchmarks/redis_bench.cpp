// The Redis tier on a redis-server of its own, on a free loopback port: values a second
// through one connection beside redis-benchmark, a look-up alone, a write, and what a
// server that hangs costs. Needs redis-server; redis-benchmark for the comparison.
#include <arpa/inet.h>
#include <benchmark/benchmark.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <future>
#include <string>
#include <thread>

#include "base/wall_time.hpp"
#include "benchmark_main.hpp"
#include "request/record_codec.hpp"
#include "tidegate/engine.hpp"
#include "tidegate/redis_cache.hpp"

namespace {

using namespace tidegate;

constexpr std::uint64_t kKeys = 6400;
constexpr std::size_t kValueBytes = 1536;
constexpr std::size_t kKeysPerGet = 64;

class Server {
 public:
  Server() : port_(free_port()) {
    const std::string port = std::to_string(port_);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::execlp("redis-server", "redis-server", "--port", port.c_str(), "--bind", "127.0.0.1", "--save", "",
               "--appendonly", "no", "--logfile", "/dev/null", nullptr);
      ::_exit(127);
    }
    for (int tries = 0; tries < 1000 && !listens(); ++tries) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  ~Server() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  void hang() const { ::kill(pid_, SIGSTOP); }
  void go_on() const { ::kill(pid_, SIGCONT); }
  [[nodiscard]] int port() const { return port_; }

 private:
  static int free_port() {
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

  [[nodiscard]] bool listens() const {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port_));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const bool connected = ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    ::close(fd);
    return connected;
  }

  const int port_;
  pid_t pid_ = -1;
};

Server& server() {
  static Server one;
  return one;
}

CacheKey key_number(std::uint64_t number) {
  CacheKey key{};
  std::memcpy(key.data(), &number, sizeof(number));
  return key;
}

CacheEntry entry_number(std::uint64_t number) {
  const std::vector<Tensor> outputs{Tensor::vector_of(std::vector<float>(kValueBytes / sizeof(float), 0.5F))};
  const CacheKey key = key_number(number);
  return {key, encode_record(key, outputs, unix_milliseconds() + 3'600'000), std::chrono::hours(1)};
}

std::shared_ptr<RedisCache> make_tier(const std::string& secret = "") {
  RedisCacheOptions options;
  options.address = "127.0.0.1:" + std::to_string(server().port());
  options.hmac_key = secret;
  options.name_space = secret.empty() ? "plain" : "signed";
  // Throughput is measured, not patience.
  options.get_budget = std::chrono::seconds(1);
  auto made = make_redis_cache(options);
  return made ? *std::move(made) : nullptr;
}

using Slots = std::vector<std::optional<CacheEntry>>;

Slots look_up(RedisCache& tier, std::span<const CacheKey> keys) {
  std::promise<Slots> promise;
  auto future = promise.get_future();
  tier.get_many(keys, kNoDeadline, [&promise](Slots slots) { promise.set_value(std::move(slots)); });
  return future.get();
}

/// True once all kKeys are there.
bool fill(RedisCache& tier) {
  const CacheKey first = key_number(0);
  for (int tries = 0; tries < 500 && tier.redis_stats().absent + tier.redis_stats().hits == 0; ++tries)
    look_up(tier, std::span(&first, 1));
  if (tier.redis_stats().absent + tier.redis_stats().hits == 0) return false;
  for (std::uint64_t i = 0; i < kKeys; ++i) {
    const CacheEntry entry = entry_number(i);
    tier.put_many(std::span(&entry, 1));
    while (tier.redis_stats().written + 2000 < i) std::this_thread::yield();
  }
  while (tier.redis_stats().written < kKeys && tier.redis_stats().dropped_full + tier.redis_stats().dropped_lost == 0) {
    std::this_thread::yield();
  }
  return tier.redis_stats().written >= kKeys;
}

/// What the tier's own redis-benchmark says of the same MGET, in values a second.
double redis_benchmark_values() {
  const std::string port = std::to_string(server().port());
  std::string mget = "redis-benchmark -p " + port + " -n 30000 -c 1 -P 4 --csv MGET";
  const std::string value(kValueBytes + 128, 'v');
  for (std::size_t i = 0; i < kKeysPerGet; ++i) {
    const std::string key = "bench" + std::to_string(i);
    const std::string set = "redis-cli -p " + port + " SET " + key + " " + value + " >/dev/null";
    if (std::system(set.c_str()) != 0) return 0;
    mget += " " + key;
  }
  FILE* const pipe = ::popen((mget + " 2>/dev/null | tail -1").c_str(), "r");
  if (pipe == nullptr) return 0;
  std::array<char, 4096> line{};
  const std::string text = std::fgets(line.data(), line.size(), pipe) != nullptr ? line.data() : "";
  ::pclose(pipe);
  // "MGET ...","requests a second",...
  const std::size_t at = text.find("\",\"");
  return at == std::string::npos ? 0 : std::strtod(text.c_str() + at + 3, nullptr) * kKeysPerGet;
}

/// MGETs of 64 values, a few under way at a time, over the one connection for reads.
void mget_values(benchmark::State& state) {
  const auto tier = make_tier(state.range(0) == 1 ? "a secret of some length" : "");
  if (tier == nullptr || !fill(*tier)) return state.SkipWithError("redis-server does not answer");
  std::array<std::vector<CacheKey>, kKeys / kKeysPerGet> sets;
  for (std::uint64_t i = 0; i < kKeys; ++i) sets[i / kKeysPerGet].push_back(key_number(i));
  constexpr int kUnderWay = 4;
  std::atomic<int> out{0};
  std::atomic<std::uint64_t> hits{0};
  std::size_t at = 0;
  for (auto step : state) {
    (void)step;
    for (int left = out.load(); left >= kUnderWay; left = out.load()) out.wait(left);
    ++out;
    tier->get_many(sets[at++ % sets.size()], kNoDeadline, [&](const Slots& slots) {
      hits += static_cast<std::uint64_t>(
          std::count_if(slots.begin(), slots.end(), [](const auto& s) { return s.has_value(); }));
      --out;
      out.notify_one();
    });
  }
  for (int left = out.load(); left > 0; left = out.load()) out.wait(left);
  if (hits != static_cast<std::uint64_t>(state.iterations()) * kKeysPerGet) return state.SkipWithError("a miss");
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kKeysPerGet));
  state.SetLabel(state.range(0) == 1 ? "signed" : "plain");
  if (state.range(0) == 0) {
    static const double peer = redis_benchmark_values();  // once, whatever the number of attempts
    state.counters["redis_benchmark_values/s"] = peer;
  }
}
BENCHMARK(mget_values)->Arg(0)->Arg(1)->UseRealTime()->MinTime(2);

/// One look-up after the other: the whole way there and back.
void single_get(benchmark::State& state) {
  const auto tier = make_tier();
  if (tier == nullptr || !fill(*tier)) return state.SkipWithError("redis-server does not answer");
  std::vector<double> micros;
  std::uint64_t number = 0;
  for (auto step : state) {
    (void)step;
    const CacheKey key = key_number(number++ % kKeys);
    const auto before = std::chrono::steady_clock::now();
    if (!look_up(*tier, std::span(&key, 1)).at(0)) return state.SkipWithError("a miss");
    micros.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - before).count());
  }
  std::sort(micros.begin(), micros.end());
  state.counters["p50_us"] = micros[micros.size() / 2];
  state.counters["p99_us"] = micros[micros.size() * 99 / 100];
}
BENCHMARK(single_get)->UseRealTime()->Iterations(20'000);

/// What a write costs the caller.
void put_enqueue(benchmark::State& state) {
  const auto tier = make_tier();
  if (tier == nullptr || !fill(*tier)) return state.SkipWithError("redis-server does not answer");
  const CacheEntry entry = entry_number(1);
  for (auto step : state) {
    (void)step;
    tier->put_many(std::span(&entry, 1));
  }
}
BENCHMARK(put_enqueue)->UseRealTime();

/// From here on a request or a look-up counts as having waited for the server.
constexpr double kPaidMs = 2;

/// The server hangs: how many look-ups wait and how long, and what one costs after that.
void hung_server(benchmark::State& state) {
  RedisCacheOptions options;
  options.address = "127.0.0.1:" + std::to_string(server().port());
  options.breaker_first_open = std::chrono::minutes(10);
  options.breaker_longest_open = std::chrono::minutes(10);
  auto made = make_redis_cache(options);
  if (!made) return state.SkipWithError("no tier");
  RedisCache& tier = **made;
  const CacheKey key = key_number(kKeys);
  const auto in_a_second = [] { return std::chrono::steady_clock::now() + std::chrono::seconds(1); };
  const auto ask = [&] {
    std::promise<void> promise;
    auto future = promise.get_future();
    tier.get_many(std::span(&key, 1), in_a_second(), [&promise](const Slots&) { promise.set_value(); });
    future.get();
  };
  for (int tries = 0; tries < 500 && tier.redis_stats().absent == 0; ++tries) look_up(tier, std::span(&key, 1));
  if (tier.redis_stats().absent == 0) return state.SkipWithError("redis-server does not answer");
  server().hang();
  double waited = 0;
  double longest = 0;
  while (tier.redis_stats().breaker == RedisBreaker::closed) {
    const auto before = std::chrono::steady_clock::now();
    ask();
    const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - before).count();
    longest = std::max(longest, ms);
    if (ms > kPaidMs) ++waited;
  }
  const Deadline deadline = in_a_second() + std::chrono::hours(1);
  for (auto step : state) {
    (void)step;
    tier.get_many(std::span(&key, 1), deadline, [](const Slots& slots) { benchmark::DoNotOptimize(slots.size()); });
  }
  server().go_on();
  state.counters["waited"] = waited;
  state.counters["longest_ms"] = longest;
}
BENCHMARK(hung_server)->UseRealTime();

/// Answers at once: what a request takes is the engine's and the caches'.
class Instant final : public ModelRunner {
 public:
  Instant() {
    info_.kind = "instant";
    info_.fingerprint[0] = 1;
  }
  [[nodiscard]] const ModelInfo& info() const noexcept override { return info_; }
  Result<PreparedInput> prepare(Input input) override { return PreparedInput{std::move(input), {}, ItemSize{1, 1, 1}}; }
  void run(std::span<BatchItem> batch) override {
    for (BatchItem& item : batch) item.output = std::vector<Tensor>{Tensor::vector_of(std::vector<float>(4, 1.0F))};
  }

 private:
  ModelInfo info_;
};

/// Waves of requests through an engine, each for a text of its own.
class Waves {
 public:
  explicit Waves(Engine& engine) : engine_(engine) {}

  void ask(std::size_t senders) {
    std::atomic<std::size_t> missing{senders};
    std::vector<double> took(senders);
    for (std::size_t i = 0; i < senders; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      const auto accepted =
          engine_.infer({"m", "text " + std::to_string(number_++), {}}, [&missing, &took, i, begin](const auto&) {
            took[i] = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
            --missing;
          });
      if (!accepted) --missing;
    }
    while (missing > 0) std::this_thread::yield();
    for (const double ms : took) {
      longest_ms = std::max(longest_ms, ms);
      if (ms > kPaidMs) ++paid;
    }
  }

  double paid = 0;
  double longest_ms = 0;

 private:
  Engine& engine_;
  std::uint64_t number_ = 0;
};

/// The same through an engine: how many requests pay more than 2 ms until the breaker is open, how long the longest
/// takes, and what one takes after that, computed. Argument: requests at a time.
void hung_server_engine(benchmark::State& state) {
  const auto senders = static_cast<std::size_t>(state.range(0));
  RedisCacheOptions redis;
  redis.address = "127.0.0.1:" + std::to_string(server().port());
  redis.breaker_first_open = std::chrono::minutes(10);
  redis.breaker_longest_open = std::chrono::minutes(10);
  auto tier = make_redis_cache(redis);
  if (!tier) return state.SkipWithError("no tier");
  EngineOptions options;
  options.cache.bypass = CacheBypass::never;
  options.cache.tiers = {*tier};
  auto engine = Engine::create(std::move(options));
  std::vector<Replica> set;
  set.push_back({std::make_unique<Instant>(), {}});
  if (!engine || !engine->add_model("m", std::move(set))) return state.SkipWithError("no engine");
  Waves before(*engine);
  const auto answers = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (std::chrono::steady_clock::now() < answers && (*tier)->redis_stats().absent < 100) before.ask(1);
  if ((*tier)->redis_stats().absent < 100) return state.SkipWithError("redis-server does not answer");
  Waves waves(*engine);
  server().hang();
  const auto hung = std::chrono::steady_clock::now();
  while ((*tier)->redis_stats().breaker == RedisBreaker::closed) waves.ask(senders);
  const auto opened = std::chrono::steady_clock::now();
  for (auto step : state) {
    (void)step;
    before.ask(senders);
  }
  server().go_on();
  state.SetItemsProcessed(state.iterations() * state.range(0));
  state.counters["paid"] = waves.paid;
  state.counters["longest_ms"] = waves.longest_ms;
  state.counters["opened_after_ms"] = std::chrono::duration<double, std::milli>(opened - hung).count();
}
BENCHMARK(hung_server_engine)->Arg(1)->Arg(64)->UseRealTime();

}  // namespace

int main(int count, char** arguments) { return tidegate::bench::run(count, arguments); }
