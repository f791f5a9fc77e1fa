#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <random>
#include <sstream>

#include "metrics/registry.hpp"

using namespace tidegate;

namespace {

std::string hex(const std::string& text) {
  std::string out = "x";  // never empty, so that every field of a line is a word
  char two[3];
  for (const char c : text) {
    std::snprintf(two, sizeof two, "%02x", static_cast<unsigned>(static_cast<unsigned char>(c)));
    out += two;
  }
  return out;
}

/// One line per series as the parser must see it: name, sorted labels, value.
std::string expected_line(const std::string& name, const MetricLabels& labels, double value) {
  char number[40];
  std::snprintf(number, sizeof number, "%.17g", value);
  std::string line = hex(name) + ' ' + number;
  for (const auto& [key, text] : labels) line += ' ' + hex(key) + '=' + hex(text);
  return line + '\n';
}

/// Reads the exposition text with the reference parser and compares it, line by
/// line, with what was meant. Prints the first difference.
constexpr const char* kOracle = R"(import sys
from prometheus_client.parser import text_string_to_metric_families
text = open(sys.argv[1], newline='', encoding='utf-8').read()
def labels_of(pairs):  # 'le' compares as a number: 10240 and 1.024e+04 are one bound
    return tuple(sorted((k, repr(float(v)) if k == 'le' else v) for k, v in pairs))
def unhex(word): return bytes.fromhex(word[1:]).decode('utf-8')
want = {}
for line in open(sys.argv[2], encoding='ascii'):
    words = line.split()
    labels = labels_of([unhex(part) for part in word.split('=')] for word in words[2:])
    want[(unhex(words[0]), labels)] = float(words[1])
got, seen = {}, set()
for family in text_string_to_metric_families(text):
    assert family.name not in seen, 'family twice: ' + family.name
    seen.add(family.name)
    assert family.documentation == 'Help with \\ and \n inside.', repr(family.documentation)
    for sample in family.samples:
        key = (sample.name, labels_of(sample.labels.items()))
        assert key not in got, ('series twice', key)
        got[key] = sample.value
for key in sorted(set(want) | set(got)):
    a, b = want.get(key), got.get(key)
    if a != b and not (a is not None and b is not None and a != a and b != b):
        sys.exit('series %r: wanted %r, parsed %r' % (key, a, b))
)";

std::filesystem::path scratch(const std::string& name) {
  return std::filesystem::path(TIDEGATE_TEST_BINARY_DIR) / ("prometheus_test_" + name);
}

void write(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

/// "" if the parser sees exactly `expected`, else its complaint; nullopt without Python.
std::optional<std::string> ask_parser(const std::string& text, const std::string& expected) {
  const std::string python = TIDEGATE_TEST_PYTHON;
  if (!std::filesystem::exists(python)) return std::nullopt;
  if (std::system(("'" + python + "' -c 'import prometheus_client' 2>/dev/null").c_str()) != 0) return std::nullopt;
  write(scratch("oracle.py"), kOracle);
  write(scratch("text.txt"), text);
  write(scratch("expected.txt"), expected);
  const std::string command = "'" + python + "' '" + scratch("oracle.py").string() + "' '" +
                              scratch("text.txt").string() + "' '" + scratch("expected.txt").string() + "' > '" +
                              scratch("verdict.txt").string() + "' 2>&1";
  if (std::system(command.c_str()) == 0) return "";
  std::stringstream verdict;
  verdict << std::ifstream(scratch("verdict.txt")).rdbuf();
  return "parser: " + verdict.str();
}

std::string hostile_text(std::mt19937_64& random) {
  static const std::vector<std::string> kPieces = {"\\",
                                                   "\"",
                                                   "\n",
                                                   "\\n",
                                                   "\\\\",
                                                   "{",
                                                   "}",
                                                   ",",
                                                   "=",
                                                   " ",
                                                   "\t",
                                                   "\r",
                                                   "#",
                                                   "le",
                                                   "\xC3\xA9",
                                                   "\xF0\x9F\x8C\x8A",
                                                   "a",
                                                   "\"} 1\nfake_total 7\n",
                                                   "# HELP x y\n",
                                                   "\xE2\x80\xA8"};
  std::string text;
  const auto pieces = random() % 6;
  for (std::uint64_t i = 0; i < pieces; ++i) text += kPieces[random() % kPieces.size()];
  return text;
}

std::string expected_histogram(const std::string& name, const MetricSample& sample) {
  std::string out;
  for (const auto& [upper, cumulative] : sample.buckets) {
    MetricLabels labels = sample.labels;
    char le[40];
    std::snprintf(le, sizeof le, "%.17g", upper);
    labels.emplace_back("le", le);
    out += expected_line(name + "_bucket", labels, static_cast<double>(cumulative));
  }
  MetricLabels infinite = sample.labels;
  infinite.emplace_back("le", "+Inf");
  out += expected_line(name + "_bucket", infinite, static_cast<double>(sample.count));
  out += expected_line(name + "_sum", sample.labels, sample.value);
  return out + expected_line(name + "_count", sample.labels, static_cast<double>(sample.count));
}

}  // namespace

TEST_CASE("prometheus: the text of a small snapshot, to the byte") {
  MetricsSnapshot snapshot;
  snapshot.samples.push_back({"b_bytes", "Bytes\nheld.", MetricKind::gauge, {}, 1.5});
  snapshot.samples.push_back({"a_total", "Hits \\ \"quoted\".", MetricKind::counter, {{"t", "a\"b\\c\nd"}}, 3});
  snapshot.samples.push_back({"w_seconds", "Wait.", MetricKind::histogram, {{"m", "x"}}, 2.5, 3, {{0.5, 1}, {2, 2}}});
  snapshot.samples.push_back({"a_total", "Hits.", MetricKind::counter, {{"t", "z"}}, 4});
  CHECK(to_prometheus(snapshot) ==
        "# HELP a_total Hits \\\\ \"quoted\".\n"
        "# TYPE a_total counter\n"
        "a_total{t=\"a\\\"b\\\\c\\nd\"} 3\n"
        "a_total{t=\"z\"} 4\n"
        "# HELP b_bytes Bytes\\nheld.\n"
        "# TYPE b_bytes gauge\n"
        "b_bytes 1.5\n"
        "# HELP w_seconds Wait.\n"
        "# TYPE w_seconds histogram\n"
        "w_seconds_bucket{m=\"x\",le=\"0.5\"} 1\n"
        "w_seconds_bucket{m=\"x\",le=\"2\"} 2\n"
        "w_seconds_bucket{m=\"x\",le=\"+Inf\"} 3\n"
        "w_seconds_sum{m=\"x\"} 2.5\n"
        "w_seconds_count{m=\"x\"} 3\n");
  CHECK(to_prometheus({}).empty());
}

TEST_CASE("prometheus: what the format cannot carry is made to fit") {
  MetricsSnapshot snapshot;
  snapshot.samples.push_back({"9 lives:x",
                              "",
                              MetricKind::gauge,
                              {{"a:b-c",
                                "\xFF"
                                "z\xC3"}},
                              -1});
  CHECK(to_prometheus(snapshot) ==
        "# HELP _9_lives:x \n# TYPE _9_lives:x gauge\n_9_lives:x{a_b_c=\"\xEF\xBF\xBDz\xEF\xBF\xBD\"} -1\n");
}

TEST_CASE("prometheus: the reference parser reads back every name, label and value") {
  std::mt19937_64 random(3);
  MetricsSnapshot snapshot;
  std::string expected;
  const std::string help = "Help with \\ and \n inside.";
  const std::vector<double> values = {0.0,
                                      -0.5,
                                      1e-300,
                                      1.0 / 3.0,
                                      1e22,
                                      9007199254740993.0,
                                      123456789.0,
                                      -1e300,
                                      std::numeric_limits<double>::infinity(),
                                      -std::numeric_limits<double>::infinity(),
                                      std::numeric_limits<double>::quiet_NaN()};
  for (int i = 0; i < 300; ++i) {
    MetricLabels labels = {{"a", hostile_text(random)}, {"b", hostile_text(random)}, {"n", std::to_string(i)}};
    const bool counter = i % 2 == 0;
    const double value = counter ? static_cast<double>(random() % 1000000) : values[random() % values.size()];
    const std::string name = counter ? "hits_total" : "level:gauge";
    snapshot.samples.push_back({name, help, counter ? MetricKind::counter : MetricKind::gauge, labels, value});
    expected += expected_line(name, labels, value);
  }
  Registry registry;
  std::lognormal_distribution<double> spread(0.0, 8.0);
  for (int i = 0; i < 3; ++i) {
    Histogram& histogram = registry.histogram("wait_seconds", help, {{"a", hostile_text(random) + std::to_string(i)}});
    for (int k = 0; k < 200 * i; ++k) histogram.record(spread(random));
  }
  for (const MetricSample& sample : registry.snapshot().samples) {
    snapshot.samples.push_back(sample);
    expected += expected_histogram(sample.name, sample);
  }
  const auto verdict = ask_parser(to_prometheus(snapshot), expected);
  if (!verdict) {
    MESSAGE("prometheus_client is not installed: the parser was not asked");
    return;
  }
  CHECK(*verdict == "");
  // The comparison can fail: one series more than was written must be noticed.
  const auto wrong = ask_parser(to_prometheus(snapshot), expected + expected_line("hits_total", {}, 1));
  CHECK(*wrong != "");
}
