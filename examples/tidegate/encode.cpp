// tidegate encode: a file of texts to a file of vectors.
#include <fmt/core.h>

#include <memory>

#include "command.hpp"
#include "model_options.hpp"
#include "npy_file.hpp"
#include "output.hpp"
#include "text_source.hpp"
#include "windowed_client.hpp"

namespace tidegate::program {
namespace {

struct Arguments : ModelArguments {
  std::string input, output;
  bool json = false;
};

/// The first text tells the dimension before the output file is laid out.
Result<std::size_t> embedding_size(Engine& engine) {
  auto probe = engine.infer_future({"", std::string("."), {}}).get();
  if (!probe) return std::move(probe).error();
  return static_cast<std::size_t>(probe->outputs.at(0).shape().at(0));
}

Result<int> encode(const Arguments& arguments) {
  const auto text = read_lines(arguments.input);
  if (!text) return text.error();
  auto engine = open_engine(arguments, {});
  if (!engine) return std::move(engine).error();
  const auto columns = embedding_size(*engine);
  if (!columns) return columns.error();
  auto file = NpyFile::create(arguments.output, text->lines.size(), *columns);
  if (!file) return std::move(file).error();

  const auto started = std::chrono::steady_clock::now();
  std::optional<WindowedClient::Failure> failure;
  {
    WindowedClient client(*engine, std::size_t{4} * arguments.max_batch_size,
                          [&](std::size_t row, const Response& response) {
                            return file->write_row(row, response.outputs.at(0).as<float>());
                          });
    ProgressBar progress("encoding", text->lines.size(), "texts");
    for (std::size_t i = 0; i < text->lines.size(); ++i) {
      if (!client.send(i, std::string(text->lines[i]), {})) break;
      progress.update(client.answered());
    }
    failure = client.finish();
  }
  if (failure) {
    return Error(failure->error.code(),
                 fmt::format("{} line {}: {}", text->name, failure->index + 1, failure->error.message()));
  }
  if (auto written = file->commit(); !written) return std::move(written).error();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  const double rate = static_cast<double>(text->lines.size()) / std::max(seconds, 1e-9);
  if (arguments.json) {
    print_json({{"texts", text->lines.size()},
                {"dimension", *columns},
                {"seconds", seconds},
                {"texts_per_second", rate},
                {"output", arguments.output},
                {"precision", arguments.precision},
                {"threads", arguments.threads}});
  } else {
    fmt::print("{} texts to {} in {:.3f} s: {:.0f} texts/s, {} dimensions, {}\n", text->lines.size(), arguments.output,
               seconds, rate, *columns, arguments.precision);
  }
  return 0;
}

}  // namespace

Action add_encode(CLI::App& app) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("encode", "Encode texts, one a line, to a NumPy file of f32 vectors");
  add_model_options(*command, *arguments);
  command->add_option("--input", arguments->input, "Text file, or - for standard input")->required();
  command->add_option("--output", arguments->output, "NumPy file to write (.npy), [texts, dimension]")->required();
  command->add_flag("--json", arguments->json, "Print the summary as one JSON object");
  return [arguments] { return encode(*arguments); };
}

}  // namespace tidegate::program
