// tidegate tokenize: texts to token ids.
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <memory>

#include "command.hpp"
#include "text_source.hpp"
#include "tidegate/modules.hpp"

namespace tidegate::program {
namespace {

struct Arguments {
  std::string model, input;
  bool json = false;
};

Result<int> tokenize(const Arguments& arguments) {
  const auto text = read_lines(arguments.input);
  if (!text) return text.error();
  const auto tokenizer = load_tokenizer(arguments.model);
  if (!tokenizer) return tokenizer.error();
  for (std::size_t i = 0; i < text->lines.size(); ++i) {
    const auto ids = (*tokenizer)->encode(text->lines[i]);
    if (!ids) {
      return Error(ids.error().code(), fmt::format("{} line {}: {}", text->name, i + 1, ids.error().message()));
    }
    if (arguments.json)
      fmt::print("[{}]\n", fmt::join(*ids, ","));
    else
      fmt::print("{}\n", fmt::join(*ids, " "));
  }
  return 0;
}

}  // namespace

Action add_tokenize(CLI::App& app) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("tokenize", "Print the token ids of each text, one line a text");
  command->add_option("--model", arguments->model, "Model folder in sentence-transformers layout")->required();
  command->add_option("--input", arguments->input, "Text file, or - for standard input")->required();
  command->add_flag("--json", arguments->json, "Print one JSON array of ids a line");
  return [arguments] { return tokenize(*arguments); };
}

}  // namespace tidegate::program
