#include <algorithm>

#include "base/try.hpp"
#include "simulator/hpa_case_kinds.hpp"
#include "tidegate/simulator.hpp"

namespace tidegate {
namespace {

struct Difference {
  std::string field;
  std::string expected;
  std::string got;
};

/// Names of pods are sets: their order in a file means nothing.
CaseValue sorted_if_names(const CaseValue& value) {
  if (value.list() == nullptr) return value;
  CaseValue::List list = *value.list();
  for (const CaseValue& element : list) {
    if (element.text() == nullptr) return value;
  }
  std::sort(list.begin(), list.end(), [](const auto& a, const auto& b) { return *a.text() < *b.text(); });
  return CaseValue(std::move(list));
}

bool agrees(const std::string& name, const CaseValue& expected, const CaseValue& got) {
  if (name == "error" && expected.text() != nullptr && got.text() != nullptr) {
    return got.text()->find(*expected.text()) != std::string::npos;
  }
  return sorted_if_names(expected) == sorted_if_names(got);
}

/// Compares the members of `expected` only; objects member by member.
std::optional<Difference> first_difference(const std::string& prefix, const CaseValue& expected, const CaseValue& got) {
  for (const CaseMember& wanted : *expected.object()) {
    const std::string field = prefix + wanted.name;
    const CaseValue* found = got.find(wanted.name);
    if (found == nullptr) {
      // A failed calculation has no result but its error, which says more.
      const CaseValue* error = got.find("error");
      return Difference{field, wanted.value.dump(), error == nullptr ? "nothing" : "error " + error->dump()};
    }
    if (wanted.value.object() != nullptr && found->object() != nullptr) {
      if (auto inner = first_difference(field + ".", wanted.value, *found)) return inner;
    } else if (!agrees(wanted.name, wanted.value, *found)) {
      return Difference{field, wanted.value.dump(), found->dump()};
    }
  }
  return std::nullopt;
}

Result<std::optional<CaseFailure>> play_case(const CaseValue& value, std::size_t index) {
  CaseComplaint complaint{std::string("#").append(std::to_string(index))};
  const CaseFields fields(value, "", complaint);
  const std::string id = fields.text("id");
  if (!id.empty()) complaint.case_id = id;
  const std::string kind = fields.text("kind");
  const CaseFields input = fields.object("input");
  const CaseFields expect = fields.object("expect");
  if (complaint.error) return std::move(*complaint.error);
  const std::optional<CaseValue> got = hpa_cases::play(kind, input);
  if (!got) complaint.raise("kind", "unknown kind \"" + kind + "\"");
  if (got && expect.raw().object()->empty()) complaint.raise("expect", "must name at least one result");
  if (complaint.error) return std::move(*complaint.error);
  if (auto difference = first_difference("", expect.raw(), *got)) {
    return std::optional<CaseFailure>(CaseFailure{id, kind, std::move(difference->field),
                                                  std::move(difference->expected), std::move(difference->got)});
  }
  return std::optional<CaseFailure>{};
}

}  // namespace

std::string CaseReport::text() const {
  std::string text = std::to_string(agreeing()) + " of " + std::to_string(total) + " cases agree\n";
  for (const CaseFailure& failure : failures) {
    text += failure.id + " (" + failure.kind + "): " + failure.field + ": expected " + failure.expected + ", got " +
            failure.got + '\n';
  }
  return text;
}

Result<CaseReport> replay_hpa_cases(std::string_view json_text) {
  const std::optional<CaseValue> file = parse_case_value(json_text);
  if (!file) return Error(ErrorCode::invalid_argument, "case file: not JSON");
  CaseComplaint complaint{};
  const CaseFields fields(*file, "", complaint);
  if (!complaint.error && fields.integer("schema_version") != 1 && !complaint.error) {
    return Error(ErrorCode::version_mismatch, "case file: schema_version is not 1");
  }
  const CaseValue* cases = file->find("cases");
  if (cases == nullptr) {
    complaint.raise("cases", "is missing");
  } else if (cases->list() == nullptr) {
    complaint.raise("cases", "must be a list");
  }
  if (complaint.error) return std::move(*complaint.error);
  CaseReport report;
  for (const CaseValue& value : *cases->list()) {
    TIDEGATE_TRY(auto failure, play_case(value, report.total));
    ++report.total;
    if (failure) report.failures.push_back(std::move(*failure));
  }
  return report;
}

}  // namespace tidegate
