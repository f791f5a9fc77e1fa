// CaseFields: typed access to one JSON object of a case file.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "simulator/case_value.hpp"
#include "tidegate/result.hpp"
#include "tidegate/time.hpp"

namespace tidegate {

/// Collects the first complaint about one case; the readers that share it answer
/// defaults from then on, so that a case is read to its end and checked once.
struct CaseComplaint {
  std::string case_id;
  std::optional<Error> error{};

  void raise(const std::string& field, std::string_view wanted) {
    if (error) return;
    const std::string where = case_id.empty() ? field : "case \"" + case_id + "\", field " + field;
    error.emplace(ErrorCode::invalid_argument, "case file: " + where + ": " + std::string(wanted));
  }
};

/// A view: the JSON value and the complaint outlive it. A key whose value is null
/// counts as absent.
class CaseFields {
 public:
  CaseFields(const CaseValue& value, std::string path, CaseComplaint& complaint);

  [[nodiscard]] bool has(const char* key) const;
  [[nodiscard]] bool is_null(const char* key) const;  ///< present, and null

  /// A missing key is a complaint unless `fallback` is given.
  [[nodiscard]] std::int64_t integer(const char* key, std::optional<std::int64_t> fallback = {}) const;
  [[nodiscard]] std::int32_t count(const char* key, std::optional<std::int32_t> fallback = {}) const;
  [[nodiscard]] double number(const char* key, std::optional<double> fallback = {}) const;
  [[nodiscard]] Duration seconds(const char* key, std::optional<Duration> fallback = {}) const;
  [[nodiscard]] std::string text(const char* key, std::optional<std::string> fallback = {}) const;
  [[nodiscard]] bool flag(const char* key, std::optional<bool> fallback = {}) const;

  /// Absent: a complaint for `object`, none for `objects` (an empty list).
  [[nodiscard]] CaseFields object(const char* key) const;
  [[nodiscard]] std::vector<CaseFields> objects(const char* key) const;
  [[nodiscard]] std::vector<std::int64_t> integers(const char* key) const;

  [[nodiscard]] const CaseValue& raw() const noexcept { return *value_; }
  [[nodiscard]] std::string path_of(const char* key) const { return path_.empty() ? key : path_ + '.' + key; }
  [[nodiscard]] CaseComplaint& complaint() const noexcept { return *complaint_; }

 private:
  [[nodiscard]] const CaseValue* find(const char* key) const;
  /// The value, or null after raising a complaint if it must be there and is not.
  template <class T>
  [[nodiscard]] const CaseValue* need(const char* key, const std::optional<T>& fallback) const;

  const CaseValue* value_;
  std::string path_;
  CaseComplaint* complaint_;
};

}  // namespace tidegate
