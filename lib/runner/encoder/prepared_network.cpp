#include "runner/encoder/prepared_network.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "base/try.hpp"
#include "runner/encoder/encoder_workbench.hpp"
#include "runner/encoder/pack_loader.hpp"

namespace tidegate {
namespace {

constexpr std::array kPacked{Precision::int8, Precision::bf16};

std::string pack_path(const TextEncoderOptions& options, Precision precision) {
  return packed_file_path(options.folder, options.pack_folder, to_string(precision));
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
  const Kernels& kernels;  // that will run the network
  Team& team;

  [[nodiscard]] Result<Candidate> candidate(Precision precision, double begin, double end) const {
    const auto build = [&]() -> Result<BuiltPack> {
      const Kernels& best = kernels_of(best_kernel_set(cpu_features()));
      EncoderWorkbench workbench(model, tokenizer, best, std::nullopt, team);
      QuantizerOptions quantizer{precision, options.calibration_texts, {}};
      if (options.progress) {
        quantizer.progress = [&](double done) { options.progress(begin + done * (end - begin)); };
      }
      TIDEGATE_TRY(QuantizedModel made, quantize(model, quantizer, best, team, workbench));
      return BuiltPack{std::move(made.image), to_json(made.report)};
    };
    const PackKey key = pack_key(model, precision, options.calibration_texts);
    TIDEGATE_TRY(LoadedPack pack, load_pack(pack_path(options, precision), model, key, build));
    TIDEGATE_TRY(FidelityReport report, fidelity_from_json(pack.facts().report));
    return Candidate{std::make_shared<const LoadedPack>(std::move(pack)), std::move(report)};
  }
};

NetworkImage image_of(const Candidate& candidate) {
  return {candidate.pack->facts().plan, {candidate.pack, candidate.pack->image().data()}};
}

void add_notes(PreparedNetwork& prepared, const Candidate& candidate) {
  for (const std::string& note : candidate.pack->notes) prepared.notes.push_back(note);
}

/// What was found about its file is for the caller to add.
PreparedNetwork prepared_of(const Candidate& candidate) {
  PreparedNetwork prepared;
  prepared.precision = candidate.report.precision;
  prepared.image = image_of(candidate);
  prepared.image_digest = candidate.pack->facts().image_digest;
  prepared.notes.push_back(describe(candidate.report));
  return prepared;
}

Result<PreparedNetwork> prepare_f32(const EncoderModel& model) {
  TIDEGATE_TRY(PackedImage packed, pack_model(model, uniform_plan(model.layers.size(), Number::f32)));
  const auto bytes = std::make_shared<const AlignedArray<std::byte>>(std::move(packed.bytes));
  PreparedNetwork prepared;
  prepared.image = {std::move(packed.plan), {bytes, bytes->data()}};
  return prepared;
}

/// Gives every report the speeds of the kernels in use.
Result<void> time_candidates(const Maker& maker, std::span<Candidate> candidates) {
  EncoderWorkbench workbench(maker.model, maker.tokenizer, maker.kernels, std::nullopt, maker.team);
  TIDEGATE_TRY(const PreparedNetwork f32, prepare_f32(maker.model));
  TIDEGATE_TRY(const double f32_speed, workbench.tokens_per_second(f32.image));
  for (Candidate& candidate : candidates) {
    candidate.report.kernels = to_string(maker.kernels.set);
    candidate.report.f32_tokens_per_second = f32_speed;
    TIDEGATE_TRY(candidate.report.tokens_per_second, workbench.tokens_per_second(image_of(candidate)));
  }
  return {};
}

Result<PreparedNetwork> prepare_fastest(const Maker& maker) {
  std::vector<Candidate> candidates;
  std::vector<FidelityReport> reports;
  for (std::size_t i = 0; i < kPacked.size(); ++i) {
    const double parts = kPacked.size();
    TIDEGATE_TRY(Candidate candidate,
                 maker.candidate(kPacked[i], static_cast<double>(i) / parts, static_cast<double>(i + 1) / parts));
    candidates.push_back(std::move(candidate));
  }
  const bool known = std::all_of(candidates.begin(), candidates.end(), [&](const Candidate& candidate) {
    return candidate.report.kernels == to_string(maker.kernels.set);
  });
  if (!known) TIDEGATE_CHECK(time_candidates(maker, candidates));
  for (const Candidate& candidate : candidates) reports.push_back(candidate.report);
  const PrecisionChoice choice = choose_precision(reports);
  PreparedNetwork prepared;
  if (choice.precision == Precision::f32) {
    TIDEGATE_TRY(prepared, prepare_f32(maker.model));
  }
  for (const Candidate& candidate : candidates) {
    if (candidate.report.precision == choice.precision) prepared = prepared_of(candidate);
  }
  // Of those not taken too: a file that cannot be kept costs every load the packing.
  for (const Candidate& candidate : candidates) add_notes(prepared, candidate);
  prepared.notes.push_back(choice.reason);
  return prepared;
}

}  // namespace

Result<PreparedNetwork> prepare_network(const EncoderModel& model, const Tokenizer& tokenizer,
                                        const TextEncoderOptions& options, const Kernels& kernels, Team& team) {
  const Maker maker{model, tokenizer, options, kernels, team};
  switch (options.precision) {
    case Precision::f32: break;
    case Precision::bf16:
    case Precision::int8: {
      TIDEGATE_TRY(const Candidate candidate, maker.candidate(options.precision, 0, 1));
      PreparedNetwork prepared = prepared_of(candidate);
      add_notes(prepared, candidate);
      return prepared;
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
