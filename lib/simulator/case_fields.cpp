#include "simulator/case_fields.hpp"

#include <cmath>
#include <limits>

namespace tidegate {
namespace {

/// Stands in for an object that is missing or of another type.
const CaseValue& empty_object() {
  static const CaseValue kEmpty{CaseValue::Object{}};
  return kEmpty;
}

// Ages are counted back from an instant near the epoch; a nanosecond count holds
// 292 years, of which 1e9 s (31 years) stands for "never".
constexpr double kLongestSeconds = 9e9;

}  // namespace

CaseFields::CaseFields(const CaseValue& value, std::string path, CaseComplaint& complaint)
    : value_(&value), path_(std::move(path)), complaint_(&complaint) {
  if (value.object() != nullptr) return;
  complaint.raise(path_.empty() ? "(case)" : path_, "must be an object");
  value_ = &empty_object();
}

const CaseValue* CaseFields::find(const char* key) const {
  const CaseValue* found = value_->find(key);
  return found == nullptr || found->is_null() ? nullptr : found;
}

template <class T>
const CaseValue* CaseFields::need(const char* key, const std::optional<T>& fallback) const {
  const CaseValue* found = find(key);
  if (found == nullptr && !fallback) complaint_->raise(path_of(key), "is missing");
  return found;
}

bool CaseFields::has(const char* key) const { return find(key) != nullptr; }

bool CaseFields::is_null(const char* key) const {
  const CaseValue* found = value_->find(key);
  return found != nullptr && found->is_null();
}

std::int64_t CaseFields::integer(const char* key, std::optional<std::int64_t> fallback) const {
  const CaseValue* found = need(key, fallback);
  if (found == nullptr) return fallback.value_or(0);
  if (const std::int64_t* value = found->integer()) return *value;
  complaint_->raise(path_of(key), "must be an integer below 2^63");
  return 0;
}

std::int32_t CaseFields::count(const char* key, std::optional<std::int32_t> fallback) const {
  const std::int64_t number = integer(key, fallback);
  if (number >= std::numeric_limits<std::int32_t>::min() && number <= std::numeric_limits<std::int32_t>::max()) {
    return static_cast<std::int32_t>(number);
  }
  complaint_->raise(path_of(key), "must be an integer below 2^31");
  return 0;
}

double CaseFields::number(const char* key, std::optional<double> fallback) const {
  const CaseValue* found = need(key, fallback);
  if (found == nullptr) return fallback.value_or(0);
  if (const auto value = found->number()) return *value;
  complaint_->raise(path_of(key), "must be a number");
  return 0;
}

Duration CaseFields::seconds(const char* key, std::optional<Duration> fallback) const {
  const CaseValue* found = need(key, fallback);
  if (found == nullptr) return fallback.value_or(Duration{0});
  const double value = found->number().value_or(std::nan(""));
  if (!(std::abs(value) <= kLongestSeconds)) {
    complaint_->raise(path_of(key), "must be a number of seconds, at most 9e9");
    return Duration{0};
  }
  return Duration{std::llround(value * 1e9)};
}

std::string CaseFields::text(const char* key, std::optional<std::string> fallback) const {
  const CaseValue* found = need(key, fallback);
  if (found == nullptr) return fallback.value_or("");
  if (const std::string* value = found->text()) return *value;
  complaint_->raise(path_of(key), "must be a string");
  return "";
}

bool CaseFields::flag(const char* key, std::optional<bool> fallback) const {
  const CaseValue* found = need(key, fallback);
  if (found == nullptr) return fallback.value_or(false);
  if (const bool* value = found->flag()) return *value;
  complaint_->raise(path_of(key), "must be true or false");
  return false;
}

CaseFields CaseFields::object(const char* key) const {
  const CaseValue* found = need(key, std::optional<bool>{});
  return CaseFields(found == nullptr ? empty_object() : *found, path_of(key), *complaint_);
}

std::vector<CaseFields> CaseFields::objects(const char* key) const {
  std::vector<CaseFields> all;
  const CaseValue* found = find(key);
  if (found == nullptr) return all;
  const CaseValue::List* list = found->list();
  if (list == nullptr) complaint_->raise(path_of(key), "must be a list");
  for (std::size_t i = 0; list != nullptr && i < list->size(); ++i) {
    all.emplace_back((*list)[i], path_of(key) + '[' + std::to_string(i) + ']', *complaint_);
  }
  return all;
}

std::vector<std::int64_t> CaseFields::integers(const char* key) const {
  std::vector<std::int64_t> all;
  const CaseValue* found = find(key);
  if (found == nullptr) return all;
  const CaseValue::List* list = found->list();
  if (list == nullptr) {
    complaint_->raise(path_of(key), "must be a list of integers");
    return all;
  }
  for (const CaseValue& element : *list) {
    if (element.integer() == nullptr) complaint_->raise(path_of(key), "must hold integers below 2^63");
    all.push_back(element.integer() == nullptr ? 0 : *element.integer());
  }
  return all;
}

}  // namespace tidegate
