#include "runner/encoder/fidelity.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/try.hpp"
#include "runner/encoder/json_document.hpp"

namespace tidegate {
namespace {

constexpr const char* kFile = "fidelity report";

std::optional<LinearKind> kind_of(std::string_view name) noexcept {
  for (std::size_t i = 0; i < kLinearKinds; ++i) {
    if (name == to_string(static_cast<LinearKind>(i))) return static_cast<LinearKind>(i);
  }
  return std::nullopt;
}

std::optional<CalibrationSource> source_of(std::string_view name) noexcept {
  for (const CalibrationSource source : {CalibrationSource::none, CalibrationSource::probe_texts,
                                         CalibrationSource::user_texts, CalibrationSource::norms}) {
    if (name == to_string(source)) return source;
  }
  return std::nullopt;
}

nlohmann::ordered_json json_of(const Agreement& agreement) {
  return {{"mean", agreement.mean}, {"p1", agreement.p1}, {"min", agreement.minimum}};
}

Result<double> number(const JsonFields& fields, std::string_view field) {
  TIDEGATE_TRY(const std::optional<double> value, fields.number(field));
  if (!value) return fields.wrong(field, "a number");
  return *value;
}

Result<std::string> text(const JsonFields& fields, std::string_view field) {
  TIDEGATE_TRY(std::optional<std::string> value, fields.text(field));
  if (!value) return fields.wrong(field, "a text");
  return *std::move(value);
}

Result<Agreement> read_agreement(const JsonFields& fields, std::string_view field) {
  const JsonValue* value = fields.find(field);
  if (value == nullptr) return fields.wrong(field, "an object");
  TIDEGATE_TRY(const JsonFields own, JsonFields::of(*value, fields.file()));
  Agreement agreement;
  TIDEGATE_TRY(agreement.mean, number(own, "mean"));
  TIDEGATE_TRY(agreement.p1, number(own, "p1"));
  TIDEGATE_TRY(agreement.minimum, number(own, "min"));
  return agreement;
}

Result<std::vector<LinearPlace>> read_fallbacks(const JsonFields& fields) {
  const JsonValue* value = fields.find("bf16_products");
  if (value == nullptr || value->as_array() == nullptr) return fields.wrong("bf16_products", "a list");
  std::vector<LinearPlace> places;
  for (const JsonValue& entry : *value->as_array()) {
    TIDEGATE_TRY(const JsonFields own, JsonFields::of(entry, fields.file()));
    TIDEGATE_TRY(const std::uint32_t layer, own.required_count("layer", 0, 1U << 16));
    TIDEGATE_TRY(const std::string name, text(own, "product"));
    const auto kind = kind_of(name);
    if (!kind) return own.wrong("product", "a product of a layer");
    places.push_back({layer, *kind});
  }
  return places;
}

}  // namespace

Agreement agreement_of(std::vector<double> cosines) {
  if (cosines.empty()) return {};
  for (double& cosine : cosines) cosine = std::isfinite(cosine) ? cosine : -1.0;
  std::sort(cosines.begin(), cosines.end());
  const double place = 0.01 * static_cast<double>(cosines.size() - 1);
  const auto low = static_cast<std::size_t>(place);
  const std::size_t high = std::min(low + 1, cosines.size() - 1);
  const double share = place - static_cast<double>(low);
  Agreement agreement;
  agreement.mean = std::accumulate(cosines.begin(), cosines.end(), 0.0) / static_cast<double>(cosines.size());
  agreement.p1 = cosines[low] + share * (cosines[high] - cosines[low]);
  agreement.minimum = cosines.front();
  return agreement;
}

std::vector<double> cosines_of(std::span<const float> rows, std::span<const float> reference, std::size_t width) {
  std::vector<double> cosines(std::min(rows.size(), reference.size()) / width);
  for (std::size_t i = 0; i < cosines.size(); ++i) {
    double product = 0;
    double first = 0;
    double second = 0;
    for (std::size_t k = i * width; k < (i + 1) * width; ++k) {
      product += double{rows[k]} * double{reference[k]};
      first += double{rows[k]} * double{rows[k]};
      second += double{reference[k]} * double{reference[k]};
    }
    cosines[i] = first == 0 && second == 0 ? 1.0 : product / std::sqrt(first * second);
  }
  return cosines;
}

/// bf16 as engines round it lies well within its gate (.99995, .9999, .9999 on STS-B by
/// docs/performance.md); a product gone wrong does not. int8's gate is one that smoothing and
/// second-order rounding pass, and plainer int8 (means of .992 to .997 there) does not.
Agreement gate_of(Precision precision) noexcept {
  if (precision == Precision::int8) return {0.999, 0.998, 0.997};
  if (precision == Precision::bf16) return {0.9999, 0.9995, 0.999};
  return {};
}

bool passes(const Agreement& agreement, const Agreement& gate) noexcept {
  return agreement.mean >= gate.mean && agreement.p1 >= gate.p1 && agreement.minimum >= gate.minimum;
}

std::string_view to_string(CalibrationSource source) noexcept {
  switch (source) {
    case CalibrationSource::none: return "none";
    case CalibrationSource::probe_texts: return "probe_texts";
    case CalibrationSource::user_texts: return "user_texts";
    case CalibrationSource::norms: return "norms";
  }
  return "unknown";
}

std::string describe(const FidelityReport& report) {
  std::string line = fmt::format("{} agrees with f32 to a mean cosine of {:.5f} (p1 {:.4f}, minimum {:.4f}, {} texts)",
                                 to_string(report.precision), report.agreement.mean, report.agreement.p1,
                                 report.agreement.minimum, report.texts);
  if (!report.fallbacks.empty()) line += fmt::format(", {} products in bf16", report.fallbacks.size());
  if (!report.passed) {
    line += fmt::format(": below the gate (mean {}, p1 {}, minimum {})", report.gate.mean, report.gate.p1,
                        report.gate.minimum);
  }
  return line;
}

std::string to_json(const FidelityReport& report) {
  nlohmann::ordered_json json = {{"precision", to_string(report.precision)},
                                 {"texts", report.texts},
                                 {"cosine_to_f32", json_of(report.agreement)},
                                 {"gate", json_of(report.gate)},
                                 {"passed", report.passed},
                                 {"alpha", report.alpha},
                                 {"calibration", to_string(report.source)},
                                 {"bf16_products", nlohmann::ordered_json::array()},
                                 {"kernels", report.kernels},
                                 {"tokens_per_second", report.tokens_per_second},
                                 {"f32_tokens_per_second", report.f32_tokens_per_second}};
  for (const LinearPlace& place : report.fallbacks) {
    json["bf16_products"].push_back({{"layer", place.layer}, {"product", to_string(place.kind)}});
  }
  return json.dump();
}

Result<FidelityReport> fidelity_from_json(std::string_view json) {
  TIDEGATE_TRY(const JsonValue root, parse_json(json, kFile));
  TIDEGATE_TRY(const JsonFields fields, JsonFields::of(root, kFile));
  FidelityReport report;
  TIDEGATE_TRY(const std::string precision, text(fields, "precision"));
  for (const Precision known : {Precision::f32, Precision::bf16, Precision::int8}) {
    if (precision == to_string(known)) report.precision = known;
  }
  if (precision != to_string(report.precision)) return fields.wrong("precision", "f32, bf16 or int8");
  TIDEGATE_TRY(report.texts, fields.required_count("texts", 0, 1U << 30));
  TIDEGATE_TRY(report.agreement, read_agreement(fields, "cosine_to_f32"));
  TIDEGATE_TRY(report.gate, read_agreement(fields, "gate"));
  TIDEGATE_TRY(const std::optional<bool> passed, fields.flag("passed"));
  if (!passed) return fields.wrong("passed", "true or false");
  report.passed = *passed;
  TIDEGATE_TRY(report.alpha, number(fields, "alpha"));
  TIDEGATE_TRY(const std::string source, text(fields, "calibration"));
  const auto known_source = source_of(source);
  if (!known_source) return fields.wrong("calibration", "none, probe_texts, user_texts or norms");
  report.source = *known_source;
  TIDEGATE_TRY(report.fallbacks, read_fallbacks(fields));
  TIDEGATE_TRY(report.kernels, text(fields, "kernels"));
  TIDEGATE_TRY(report.tokens_per_second, number(fields, "tokens_per_second"));
  TIDEGATE_TRY(report.f32_tokens_per_second, number(fields, "f32_tokens_per_second"));
  return report;
}

PrecisionChoice choose_precision(std::span<const FidelityReport> reports) {
  const FidelityReport* best = nullptr;
  std::string refused;
  double f32_speed = 0;
  for (const FidelityReport& report : reports) {
    f32_speed = std::max(f32_speed, report.f32_tokens_per_second);
    if (!report.passed || !passes(report.agreement, gate_of(report.precision))) {
      refused += fmt::format("; {} does not agree closely enough with f32 (mean cosine {:.5f})",
                             to_string(report.precision), report.agreement.mean);
    } else if (best == nullptr || report.tokens_per_second > best->tokens_per_second) {
      best = &report;
    }
  }
  if (best == nullptr) return {Precision::f32, "f32: no other precision passed its gate" + refused};
  if (best->tokens_per_second <= f32_speed) {
    return {Precision::f32, fmt::format("f32: {} tokens/s, {} reaches {} on this machine", std::llround(f32_speed),
                                        to_string(best->precision), std::llround(best->tokens_per_second)) +
                                refused};
  }
  return {best->precision,
          fmt::format("{}: the fastest that passed its gate, {} tokens/s (f32 {}), mean cosine to f32 {:.5f}",
                      to_string(best->precision), std::llround(best->tokens_per_second), std::llround(f32_speed),
                      best->agreement.mean) +
              refused};
}

}  // namespace tidegate
