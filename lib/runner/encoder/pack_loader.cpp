#include "runner/encoder/pack_loader.hpp"

#include <utility>

#include "base/sha256.hpp"
#include "base/try.hpp"

namespace tidegate {

Result<LoadedPack> load_pack(const std::string& path, const EncoderModel& model, const PackKey& key,
                             const PackBuilder& build) {
  auto file = PackedFile::open(path, model, key);
  if (file) return LoadedPack(*std::move(file));
  std::vector<std::string> notes;
  if (file.error().code() != ErrorCode::not_found) {
    notes.push_back("packed anew: " + std::string(file.error().message()));
  }
  TIDEGATE_TRY(BuiltPack built, build());
  PackFacts facts{std::move(built.image.plan), std::move(built.report), model.known_files, {}};
  facts.image_digest = Sha256().update(built.image.bytes.span()).finish();
  const auto written = write_packed_file(path, key, facts, built.image.bytes.span());
  if (!written) {
    notes.push_back("the packed weights were not stored: " + std::string(written.error().message()));
  } else {
    // Mapped, so that the processes that run this model share the pages.
    file = PackedFile::open(path, model, key);
  }
  LoadedPack pack = file ? LoadedPack(*std::move(file)) : LoadedPack(std::move(facts), std::move(built.image.bytes));
  pack.notes = std::move(notes);
  return pack;
}

}  // namespace tidegate
