// EncoderWorkbench: tries packed models out on the network that will run them.
#pragma once

#include <memory>
#include <optional>

#include "runner/encoder/quantizer.hpp"
#include "runner/encoder/sequence_encoder.hpp"
#include "runner/encoder/tokenizer.hpp"
#include "tidegate/time.hpp"

namespace tidegate {

/// `model`, `tokenizer`, `kernels` and `team` must outlive it.
class EncoderWorkbench final : public Workbench {
 public:
  EncoderWorkbench(const EncoderModel& model, const Tokenizer& tokenizer, const Kernels& kernels,
                   std::optional<ProductChoice> products, Team& team)
      : model_(&model),
        tokenizer_(&tokenizer),
        kernels_(&kernels),
        products_(products),
        team_(&team),
        clock_(make_steady_clock()) {}

  [[nodiscard]] Result<std::vector<float>> embed(const PackedImage& image, std::span<const std::string> texts) override;
  [[nodiscard]] Result<void> observe(const PackedImage& image, std::span<const std::string> texts,
                                     ActivationObserver& observer) override;
  /// Encodes probe texts a few times over and counts the fastest.
  [[nodiscard]] Result<double> tokens_per_second(const PackedImage& image) override;
  [[nodiscard]] Result<double> tokens_per_second(NetworkImage image);

 private:
  struct Tokens;

  [[nodiscard]] Result<Tokens> tokenize(std::span<const std::string> texts) const;
  [[nodiscard]] Result<std::unique_ptr<SequenceEncoder>> encoder_of(NetworkImage image) const;

  const EncoderModel* model_;
  const Tokenizer* tokenizer_;
  const Kernels* kernels_;
  std::optional<ProductChoice> products_;
  Team* team_;
  std::shared_ptr<Clock> clock_;
};

}  // namespace tidegate
