#include "tidegate/asio.hpp"

#include <doctest/doctest.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <thread>

#include "engine/engine_rig.hpp"

using namespace tidegate;
using namespace tidegate::test;
namespace asio = boost::asio;

namespace {

Engine real_engine() {
  auto engine = *Engine::create();
  std::vector<Replica> set;
  set.push_back({std::make_unique<FakeRunner>(), {}});
  REQUIRE(engine.add_model("fake", std::move(set)));
  return engine;
}

asio::awaitable<void> ask(Engine* engine, int count, int* right) {
  for (int i = 0; i < count; ++i) {
    Request request{"", std::string(static_cast<std::size_t>(i + 1), 'x'), {}};
    Result<Response> result = co_await async_infer(*engine, std::move(request), asio::use_awaitable);
    if (result && result->outputs.at(0).as<float>()[0] == static_cast<float>(i + 1)) ++*right;
  }
}

asio::awaitable<void> ask_unknown(Engine* engine, ErrorCode* code) {
  Request request{"nobody", "x", {}};
  Result<Response> result = co_await async_infer(*engine, std::move(request), asio::use_awaitable);
  *code = result ? ErrorCode::internal : result.error().code();
}

}  // namespace

TEST_CASE("asio: co_await answers on the coroutine's executor") {
  Engine engine = real_engine();
  asio::io_context context;
  int right = 0;
  asio::co_spawn(context, ask(&engine, 50, &right), asio::detached);
  context.run();
  CHECK(right == 50);
}

TEST_CASE("asio: a refusal is a Result, not an exception") {
  Engine engine = real_engine();
  asio::io_context context;
  ErrorCode code = ErrorCode::internal;
  asio::co_spawn(context, ask_unknown(&engine, &code), asio::detached);
  context.run();
  CHECK(code == ErrorCode::not_found);
}

TEST_CASE("asio: a callback runs on its executor, never inside the call") {
  Engine engine = real_engine();
  asio::io_context context;
  std::thread::id where;
  bool inside = true;
  async_infer(engine, {"", "x", {}},
              asio::bind_executor(context, [&, held = std::make_unique<int>(1)](Result<Response> result) {
                CHECK(result);
                CHECK_FALSE(inside);
                where = std::this_thread::get_id();
              }));
  inside = false;
  context.run();
  CHECK(where == std::this_thread::get_id());
}

TEST_CASE("asio: futures work, also for a refusal") {
  Engine engine = real_engine();
  CHECK(async_infer(engine, {"", "x", {}}, asio::use_future).get());
  CHECK(async_infer(engine, {"nobody", "x", {}}, asio::use_future).get().error().code() == ErrorCode::not_found);
}

TEST_CASE("asio: the cancellation slot cancels the request") {
  EngineRig rig;
  asio::io_context context;
  asio::cancellation_signal signal;
  std::optional<ErrorCode> code;
  async_infer(*rig.engine, rig.request("x"),
              asio::bind_cancellation_slot(signal.slot(), asio::bind_executor(context, [&](Result<Response> result) {
                                             code = result ? ErrorCode::internal : result.error().code();
                                           })));
  signal.emit(asio::cancellation_type::terminal);
  rig.completions->run_all();
  context.run();
  CHECK(code == ErrorCode::cancelled);
  signal.emit(asio::cancellation_type::terminal);  // after the end: nothing to do
  rig.settle();
}

TEST_CASE("asio: many coroutines on several threads") {
  Engine engine = real_engine();
  asio::thread_pool pool(3);
  std::vector<int> right(16);
  for (int& count : right) asio::co_spawn(pool, ask(&engine, 40, &count), asio::detached);
  pool.join();
  for (const int count : right) CHECK(count == 40);
}
