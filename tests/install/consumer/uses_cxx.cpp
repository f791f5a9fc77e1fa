// A program that knows Tidegate only as installed. Arguments: [MODEL MODULE].
#include <tidegate/tidegate.hpp>

#include <cstdio>

int main(int argc, char** argv) {
  auto engine = tidegate::Engine::create();
  if (!engine) return 1;
  std::unique_ptr<tidegate::ModelRunner> runner;
  if (argc > 2) {
    tidegate::TextEncoderOptions options;
    options.folder = argv[1];
    options.module_path = argv[2];
    auto loaded = tidegate::load_text_encoder(options);
    if (!loaded) {
      std::fprintf(stderr, "%s\n", loaded.error().text().c_str());
      return 1;
    }
    runner = *std::move(loaded);
  } else {
    runner = *tidegate::make_synthetic_runner({});
  }
  std::vector<tidegate::Replica> replicas;
  replicas.push_back({std::move(runner), {}});
  if (!engine->add_model("model", std::move(replicas))) return 1;
  const auto answer = engine->infer_future({"", std::string("hello"), {}}).get();
  return answer && !answer->outputs.empty() ? 0 : 1;
}
