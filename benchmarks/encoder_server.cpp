// The native encoder as a child process of benchmarks/peers: a JSON object a line in,
// one a line out ({"error": text} where it fails). peers/worker.py speaks the same
// for the other engines, so that all of them can be timed in turns.
//
//   {"do": "import"}                                      nothing: the module is opened with the model
//   {"do": "open"}                                        {"seconds", "notes"}
//   {"do": "load", "set": name, "file": path}             a JSON list of texts
//   {"do": "pass", "set": name, "batch": n, "out": path}  {"seconds", "tokens"}; out (optional): f32 rows
//   {"do": "single", "set": name, "seconds": s}           {"latencies_ms"}, one text at a time
//   {"do": "tokenize", "set": name}                       {"seconds", "tokens"}, on one thread
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tidegate/config.hpp"

namespace {

using namespace tidegate;
using nlohmann::json;
using SteadyClock = std::chrono::steady_clock;

double seconds_since(SteadyClock::time_point start) {
  return std::chrono::duration<double>(SteadyClock::now() - start).count();
}

Error bad_request(const std::string& text) { return {ErrorCode::invalid_argument, text}; }

class Server {
 public:
  Server(std::string folder, std::string config) : folder_(std::move(folder)), config_(std::move(config)) {}

  [[nodiscard]] Result<json> answer(const json& request);

 private:
  [[nodiscard]] Result<json> open();
  [[nodiscard]] Result<json> load(const json& request);
  [[nodiscard]] Result<json> pass(const json& request, const std::vector<std::string>& texts);
  [[nodiscard]] Result<json> single(const json& request, const std::vector<std::string>& texts);
  [[nodiscard]] Result<json> tokenize(const std::vector<std::string>& texts);

  /// Embeds `count` texts from `first` on as one batch; answers their tokens.
  [[nodiscard]] Result<std::uint64_t> embed(const std::vector<std::string>& texts, std::size_t first, std::size_t count,
                                            std::vector<Tensor>& embeddings);

  std::string folder_;
  std::string config_;  ///< the model as the library's JSON configuration describes it
  std::unique_ptr<ModelRunner> runner_;
  std::unique_ptr<TextTokenizer> tokenizer_;
  std::map<std::string, std::vector<std::string>> sets_;
};

Result<json> Server::open() {
  const auto start = SteadyClock::now();
  const auto config = parse_model_config(config_);
  if (!config) return config.error();
  auto replicas = load_replicas(*config);
  if (!replicas) return replicas.error();
  runner_ = std::move(replicas->front().runner);
  return json{{"seconds", seconds_since(start)}, {"notes", runner_->info().notes}};
}

Result<json> Server::load(const json& request) {
  const std::string path = request.at("file");
  std::ifstream file(path);
  const json texts = json::parse(file, nullptr, false);
  if (!texts.is_array()) return bad_request(path + ": not a JSON list of texts");
  sets_[request.at("set")] = texts.get<std::vector<std::string>>();
  return json::object();
}

Result<std::uint64_t> Server::embed(const std::vector<std::string>& texts, std::size_t first, std::size_t count,
                                    std::vector<Tensor>& embeddings) {
  std::vector<PreparedInput> inputs;
  inputs.reserve(count);
  std::vector<BatchItem> batch(count);
  std::uint64_t tokens = 0;
  for (std::size_t i = 0; i < count; ++i) {
    auto prepared = runner_->prepare(texts[first + i]);
    if (!prepared) return prepared.error();
    tokens += prepared->size.tokens;
    inputs.push_back(*std::move(prepared));
    batch[i].input = &inputs[i];
  }
  runner_->run(batch);
  for (BatchItem& item : batch) {
    if (!item.output) return item.output.error();
    embeddings.push_back(item.output->front());
  }
  return tokens;
}

Result<json> Server::pass(const json& request, const std::vector<std::string>& texts) {
  const std::size_t size = request.at("batch");
  std::vector<Tensor> embeddings;
  embeddings.reserve(texts.size());
  std::uint64_t tokens = 0;
  const auto start = SteadyClock::now();
  for (std::size_t first = 0; first < texts.size(); first += size) {
    const auto done = embed(texts, first, std::min(size, texts.size() - first), embeddings);
    if (!done) return done.error();
    tokens += *done;
  }
  const double seconds = seconds_since(start);
  if (request.contains("out")) {
    std::ofstream out(request.at("out").get<std::string>(), std::ios::binary);
    for (const Tensor& row : embeddings) {
      out.write(reinterpret_cast<const char*>(row.bytes().data()), static_cast<std::streamsize>(row.bytes().size()));
    }
    if (!out.flush()) return bad_request("the embeddings could not be written: is the disk full?");
  }
  return json{{"seconds", seconds}, {"tokens", tokens}};
}

Result<json> Server::single(const json& request, const std::vector<std::string>& texts) {
  const double limit = request.at("seconds");
  std::vector<double> latencies;
  std::vector<Tensor> embeddings;
  const auto begin = SteadyClock::now();
  for (std::size_t i = 0; latencies.empty() || seconds_since(begin) < limit; ++i) {
    embeddings.clear();
    const auto start = SteadyClock::now();
    const auto done = embed(texts, i % texts.size(), 1, embeddings);
    if (!done) return done.error();
    latencies.push_back(seconds_since(start) * 1e3);
  }
  return json{{"latencies_ms", latencies}};
}

Result<json> Server::tokenize(const std::vector<std::string>& texts) {
  if (tokenizer_ == nullptr) {
    auto loaded = load_tokenizer(folder_);
    if (!loaded) return loaded.error();
    tokenizer_ = *std::move(loaded);
  }
  std::uint64_t tokens = 0;
  const auto start = SteadyClock::now();
  for (const std::string& text : texts) {
    const auto ids = tokenizer_->encode(text);
    if (!ids) return ids.error();
    tokens += ids->size();
  }
  return json{{"seconds", seconds_since(start)}, {"tokens", tokens}};
}

Result<json> Server::answer(const json& request) {
  const std::string what = request.at("do");
  if (what == "import") return json::object();
  if (what == "open") return open();
  if (what == "load") return load(request);
  const auto set = sets_.find(request.at("set"));
  if (set == sets_.end() || set->second.empty()) return bad_request("no such set of texts: 'load' it first");
  if (what == "tokenize") return tokenize(set->second);
  if (runner_ == nullptr) return bad_request("there is no model: 'open' it first");
  if (what == "pass") return pass(request, set->second);
  if (what == "single") return single(request, set->second);
  return bad_request("there is no command '" + what + "'");
}

json serve(Server& server, const std::string& line) {
  try {
    const auto answer = server.answer(json::parse(line));
    return answer ? *answer : json{{"error", answer.error().text()}};
  } catch (const json::exception& error) {
    return json{{"error", error.what()}};
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::string folder;
  std::string precision = "f32";
  std::uint32_t threads = 1;
  std::string config = "{}";
  CLI::App app("The native text encoder, driven line by line by benchmarks/peers");
  app.add_option("--model", folder, "sentence-transformers folder")->required();
  app.add_option("--precision", precision, "number format, as in the configuration");
  app.add_option("--threads", threads, "cores one batch may use")->check(CLI::Range(1, 256));
  app.add_option("--config", config, "more keys of the model's configuration, as a JSON object");
  CLI11_PARSE(app, argc, argv);
  json model = json::parse(config, nullptr, false);
  if (!model.is_object()) {
    std::fprintf(stderr, "--config must be a JSON object, not: %s\n", config.c_str());
    return 2;
  }
  model.update(json{{"name", "model"}, {"kind", "encoder"}, {"folder", folder}});
  model.update(json{{"precision", precision}, {"threads", threads}});
  Server server(folder, model.dump());
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << serve(server, line).dump() << std::endl;
  }
  return 0;
}
