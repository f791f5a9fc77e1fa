// The main function of the benchmarks on Google Benchmark.
#pragma once

#include <benchmark/benchmark.h>

#include <string>
#include <string_view>
#include <vector>

namespace tidegate::bench {

/// Runs what is registered; --json stands for the library's --benchmark_format=json. 2 on bad usage.
inline int run(int count, char** arguments) {
  std::vector<char*> all(arguments, arguments + count);
  std::string json = "--benchmark_format=json";
  for (char*& argument : all) {
    if (std::string_view(argument) == "--json") argument = json.data();
  }
  benchmark::Initialize(&count, all.data());
  if (benchmark::ReportUnrecognizedArguments(count, all.data())) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

}  // namespace tidegate::bench
