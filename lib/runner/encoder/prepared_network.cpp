#include "runner/encoder/prepared_network.hpp"

#include <array>
#include <utility>

#include "base/sha256.hpp"
#include "base/try.hpp"
#include "runner/encoder/encoder_workbench.hpp"
#include "runner/encoder/pack_loader.hpp"

namespace tidegate {
namespace {

constexpr std::array kPacked{Precision::int8, Precision::bf16};

std::string pack_path(const TextEncoderOptions& options, Precision precision) {
  return packed_file_path(options.folder, options.pack_folder, to_string(precision));
}

PackKey key_of(const EncoderModel& model, const TextEncoderOptions& options, Precision precision) {
  Sha256 settings;
  settings.update_field(to_string(precision)).update_u64(options.calibration_texts.size());
  for (const std::string& text : options.calibration_texts) settings.update_field(text);
  return {model.content_digest, settings.finish()};
}

/// A packed model, its report and what there is to say about them.
struct Candidate {
  std::shared_ptr<const LoadedPack> pack;
  FidelityReport report;
};

/// What making packs takes.
struct Maker {
  const EncoderModel& model;
  const Tokenizer& tokenizer;
  const TextEncoderOptions& options;
  Team& team;

  [[nodiscard]] Result<Candidate> candidate(Precision precision, double begin, double end) const {
    const Kernels& kernels = kernels_of(best_kernel_set(cpu_features()));
    const auto build = [&]() -> Result<BuiltPack> {
      EncoderWorkbench workbench(model, tokenizer, kernels, std::nullopt, team);
      QuantizerOptions quantizer{precision, options.calibration_texts, {}};
      if (options.progress) {
        quantizer.progress = [&](double done) { options.progress(begin + done * (end - begin)); };
      }
      TIDEGATE_TRY(QuantizedModel made, quantize(model, quantizer, kernels, team, workbench));
      return BuiltPack{std::move(made.image), to_json(made.report)};
    };
    TIDEGATE_TRY(LoadedPack pack,
                 load_pack(pack_path(options, precision), model, key_of(model, options, precision), build));
    TIDEGATE_TRY(FidelityReport report, fidelity_from_json(pack.facts().report));
    return Candidate{std::make_shared<const LoadedPack>(std::move(pack)), std::move(report)};
  }
};

PreparedNetwork prepared_of(const Candidate& candidate) {
  PreparedNetwork prepared;
  prepared.precision = candidate.report.precision;
  prepared.image = {candidate.pack->facts().plan, {candidate.pack, candidate.pack->image().data()}};
  prepared.image_digest = candidate.pack->facts().image_digest;
  prepared.notes.push_back(describe(candidate.report));
  for (const std::string& note : candidate.pack->notes) prepared.notes.push_back(note);
  return prepared;
}

Result<PreparedNetwork> prepare_f32(const EncoderModel& model) {
  TIDEGATE_TRY(PackedImage packed, pack_model(model, uniform_plan(model.layers.size(), Number::f32)));
  const auto bytes = std::make_shared<const AlignedArray<std::byte>>(std::move(packed.bytes));
  PreparedNetwork prepared;
  prepared.image = {std::move(packed.plan), {bytes, bytes->data()}};
  return prepared;
}

Result<PreparedNetwork> prepare_fastest(const Maker& maker) {
  std::vector<Candidate> candidates;
  std::vector<FidelityReport> reports;
  for (std::size_t i = 0; i < kPacked.size(); ++i) {
    const double parts = kPacked.size();
    TIDEGATE_TRY(Candidate candidate,
                 maker.candidate(kPacked[i], static_cast<double>(i) / parts, static_cast<double>(i + 1) / parts));
    reports.push_back(candidate.report);
    candidates.push_back(std::move(candidate));
  }
  const PrecisionChoice choice = choose_precision(reports);
  PreparedNetwork prepared;
  if (choice.precision == Precision::f32) {
    TIDEGATE_TRY(prepared, prepare_f32(maker.model));
  }
  for (const Candidate& candidate : candidates) {
    if (candidate.report.precision == choice.precision) prepared = prepared_of(candidate);
  }
  prepared.notes.push_back(choice.reason);
  return prepared;
}

}  // namespace

Result<PreparedNetwork> prepare_network(const EncoderModel& model, const Tokenizer& tokenizer,
                                        const TextEncoderOptions& options, Team& team) {
  const Maker maker{model, tokenizer, options, team};
  switch (options.precision) {
    case Precision::f32: break;
    case Precision::bf16:
    case Precision::int8: {
      TIDEGATE_TRY(const Candidate candidate, maker.candidate(options.precision, 0, 1));
      return prepared_of(candidate);
    }
    case Precision::automatic: return prepare_fastest(maker);
  }
  return prepare_f32(model);
}

std::vector<KnownFile> remembered_files(const TextEncoderOptions& options) {
  for (const Precision precision : kPacked) {
    auto known = read_known_files(pack_path(options, precision));
    if (!known.empty()) return known;
  }
  return {};
}

}  // namespace tidegate
