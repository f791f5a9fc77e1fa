#include "runner/encoder/char_table.hpp"

#include <algorithm>
#include <unordered_map>

#include "runner/encoder/unicode_tables.hpp"

namespace tidegate {
namespace {

constexpr std::uint32_t kCodePoints = 0x110000;

enum Flag : std::uint8_t {
  kRemoved = 1,
  kSpace = 2,
  kPunct = 4,
  kHan = 8,
  kDropped = 16,
  kStarter = 32,
  kMapped = 64,  // decomposes or has a combining class
  kUpper = 128,
};

void mark(std::vector<std::uint8_t>& flags, std::span<const unicode::Range> ranges, Flag flag) {
  for (const auto& range : ranges)
    for (std::uint32_t c = range.first; c <= range.last; ++c) flags[c] |= flag;
}

}  // namespace

/// Applies the normalizer's steps to one code point after the other.
class CharTable::Builder {
 public:
  Builder(CharTable& table, const NormalizerOptions& options)
      : table_(table), options_(options), flags_(kCodePoints, 0) {
    const unicode::Tables& facts = unicode::kTables;
    mark(flags_, facts.removed, kRemoved);
    mark(flags_, facts.spaces, kSpace);
    mark(flags_, facts.punctuation, kPunct);
    mark(flags_, facts.han, kHan);
    mark(flags_, facts.dropped, kDropped);
    mark(flags_, facts.starters, kStarter);
    index_decompositions();
    index_lower();
  }

  std::uint32_t cell(std::uint32_t c) {
    const std::uint8_t flags = flags_[c];
    if (on(options_.clean_text)) {
      if (flags & kRemoved) return pack(CharKind::remove, 0);
      if (flags & kSpace) return pack(CharKind::space, ' ');
    }
    const bool strip = on(options_.strip_accents);
    if (strip && unicode::is_hangul_syllable(c)) return pack(CharKind::hangul, 0);
    if (flags == 0) return pack(CharKind::keep, 0);
    if (strip && (flags & kDropped)) return pack(flags & kStarter ? CharKind::barrier : CharKind::remove, 0);

    const std::vector<SequenceChar> result = apply(c);
    if (result.size() > 1 || result[0].combining_class != 0) return pack(CharKind::sequence, add(result));
    const std::uint32_t after = result[0].code_point;
    if (on(options_.handle_chinese_chars) && (flags & kHan)) return pack(CharKind::isolate, after == c ? 0 : after);
    if (result[0].kind != CharKind::keep) return pack(result[0].kind, after);
    return after == c ? pack(CharKind::keep, 0) : pack(CharKind::replace, after);
  }

 private:
  static bool on(Step step) { return step == Step::on; }
  static std::uint32_t pack(CharKind kind, std::uint32_t payload) {
    return payload << 4 | static_cast<std::uint32_t>(kind);
  }

  void index_decompositions() {
    for (const auto& entry : unicode::kTables.decompositions) {
      auto& to = decompositions_[entry.from];
      for (const std::uint32_t c : entry.to)
        if (c != 0) to.push_back(c);
      flags_[entry.from] |= kMapped;
    }
    const auto runs = unicode::kTables.single_decompositions;
    for (std::size_t i = 0; i < runs.size(); i += 2 + runs[i + 1]) {
      for (std::uint32_t k = 0; k < runs[i + 1]; ++k) {
        decompositions_[runs[i] + k] = {runs[i + 2 + k]};
        flags_[runs[i] + k] |= kMapped;
      }
    }
    for (const auto& range : unicode::kTables.classes) {
      for (std::uint32_t c = range.first; c <= range.last; ++c) {
        classes_[c] = range.combining_class;
        flags_[c] |= kMapped;
      }
    }
  }

  void index_lower() {
    for (const auto& range : unicode::kTables.lower) {
      for (std::uint32_t c = range.first; c <= range.last; c += range.stride) {
        lower_[c] = c + static_cast<std::uint32_t>(range.delta);
        flags_[c] |= kUpper;
      }
    }
    flags_[unicode::kDottedCapitalI] |= kUpper;
  }

  CharKind kind_of(std::uint32_t c) const {
    if (flags_[c] & kSpace) return CharKind::space;
    return flags_[c] & kPunct ? CharKind::punct : CharKind::keep;
  }

  /// Decomposition and lower case; never empty (`c` is not dropped).
  std::vector<SequenceChar> apply(std::uint32_t c) const {
    std::vector<std::uint32_t> parts{c};
    if (on(options_.strip_accents)) {
      if (const auto found = decompositions_.find(c); found != decompositions_.end()) parts = found->second;
    }
    std::vector<SequenceChar> result;
    for (const std::uint32_t part : parts) {
      std::uint8_t combining_class = 0;
      if (on(options_.strip_accents)) {
        if (const auto found = classes_.find(part); found != classes_.end()) combining_class = found->second;
      }
      if (!on(options_.lowercase)) {
        result.push_back({part, kind_of(part), combining_class});
      } else if (part == unicode::kDottedCapitalI) {
        result.push_back({'i', CharKind::keep, combining_class});
        result.push_back({0x307, CharKind::keep, combining_class});
      } else {
        const auto found = lower_.find(part);
        const std::uint32_t lower = found == lower_.end() ? part : found->second;
        result.push_back({lower, kind_of(lower), combining_class});
      }
    }
    return result;
  }

  std::uint32_t add(const std::vector<SequenceChar>& chars) {
    table_.sequences_.insert(table_.sequences_.end(), chars.begin(), chars.end());
    table_.sequence_starts_.push_back(static_cast<std::uint32_t>(table_.sequences_.size()));
    return static_cast<std::uint32_t>(table_.sequence_starts_.size() - 2);
  }

  CharTable& table_;
  const NormalizerOptions& options_;
  std::vector<std::uint8_t> flags_;
  std::unordered_map<std::uint32_t, std::vector<std::uint32_t>> decompositions_;
  std::unordered_map<std::uint32_t, std::uint32_t> lower_;
  std::unordered_map<std::uint32_t, std::uint8_t> classes_;
};

CharTable::CharTable(const NormalizerOptions& options) {
  Builder builder(*this, options);
  std::vector<std::uint32_t> block(kBlockMask + 1);
  for (std::uint32_t first = 0; first < kCodePoints; first += kBlockMask + 1) {
    for (std::uint32_t i = 0; i <= kBlockMask; ++i) block[i] = builder.cell(first + i);
    // Long stretches repeat (ideographs, private use, unassigned): share with the block before.
    const bool repeats = !cells_.empty() && std::equal(block.begin(), block.end(), cells_.end() - (kBlockMask + 1));
    if (!repeats) cells_.insert(cells_.end(), block.begin(), block.end());
    blocks_.push_back(static_cast<std::uint16_t>((cells_.size() >> kBlockBits) - 1));
  }
  for (std::uint32_t c = 0; c < ascii_.size(); ++c) {
    const Cell at = cell(c);
    ascii_[c] = {at.kind, static_cast<char>(at.kind == CharKind::keep ? c : at.payload)};
    if (at.kind == CharKind::replace) ascii_[c].kind = CharKind::keep;
  }
}

}  // namespace tidegate
