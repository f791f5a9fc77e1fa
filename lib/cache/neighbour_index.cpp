#include "cache/neighbour_index.hpp"

#include <algorithm>
#include <exception>
#include <vector>

#include "cache/heap_charge.hpp"
#include "cache/vector_space.hpp"

// Distances are ours (vector_space.hpp); without this the header defines functions of its own
// for the whole program.
#define NO_MANUAL_VECTORIZATION
#include <hnswlib/hnswlib.h>

namespace tidegate {
namespace {

constexpr std::uint32_t kChunk = 64;      ///< vectors that are allocated together
constexpr std::uint32_t kMovedByAdd = 4;  ///< from the newest to the graph
constexpr std::size_t kLinks = 16;        ///< of a node on each upper level; twice as many on the lowest
constexpr std::size_t kBuildCandidates = 128;
constexpr std::size_t kSearchCandidates = 64;
/// What hnswlib 0.6 allocates: per node the lowest level's links, the number, the label, a
/// pointer, a level, a mutex, a mark and a hash node; per graph a table of mutexes.
constexpr std::uint64_t kNodeBytes = (2 * kLinks + 1) * 4 + 4 + 8 + 8 + 4 + sizeof(std::mutex) + 2 + 48 + 16;
constexpr std::uint64_t kGraphBytes = 65536 * sizeof(std::mutex) + 4096;

}  // namespace

/// The numbers themselves, in chunks that never move.
class NeighbourIndex::Vectors {
 public:
  explicit Vectors(std::size_t dimension) : dimension_(dimension), dot_(fastest_dot_product()) {}

  [[nodiscard]] std::size_t dimension() const noexcept { return dimension_; }
  [[nodiscard]] std::uint32_t size() const noexcept { return static_cast<std::uint32_t>(chunks_.size() * kChunk); }
  [[nodiscard]] float* at(std::uint32_t number) noexcept {
    return chunks_[number / kChunk].get() + (number % kChunk) * dimension_;
  }
  [[nodiscard]] float cosine(const float* a, std::uint32_t number) noexcept { return dot_(a, at(number), dimension_); }

  void grow() {
    chunks_.reserve(chunks_.size() + 1);
    chunks_.push_back(std::make_unique_for_overwrite<float[]>(kChunk * dimension_));
  }

  [[nodiscard]] std::uint64_t chunk_bytes() const noexcept { return heap_charge(kChunk * dimension_ * sizeof(float)); }
  [[nodiscard]] std::uint64_t heap_bytes() const noexcept {
    return chunks_.size() * chunk_bytes() + heap_charge(chunks_.capacity() * sizeof(void*));
  }

  const float* asked = nullptr;  ///< what the graph compares with, under the number kAsked

 private:
  const std::size_t dimension_;
  const DotProduct dot_;
  std::vector<std::unique_ptr<float[]>> chunks_;
};

/// hnswlib's graph over numbers: the vectors stay with their owner.
class NeighbourIndex::Graph final : hnswlib::SpaceInterface<float> {
 public:
  static constexpr std::uint32_t kAsked = ~0U;

  Graph(Vectors& vectors, std::size_t room)
      : vectors_(vectors), links_(this, room, kLinks, kBuildCandidates), inside_(room), room_(room) {
    links_.setEf(kSearchCandidates);
  }

  [[nodiscard]] bool full() const noexcept { return links_.cur_element_count >= room_; }
  [[nodiscard]] bool knows(std::uint32_t number) const noexcept {
    return links_.label_lookup_.find(number) != links_.label_lookup_.end();
  }
  [[nodiscard]] bool answers(std::uint32_t number) const noexcept { return number < inside_.size() && inside_[number]; }

  void grow() {
    const std::size_t larger = room_ * 2;
    inside_.resize(larger);
    links_.resizeIndex(larger);
    room_ = larger;
  }

  /// A number that left and came back is linked anew.
  void add(std::uint32_t number) {
    links_.addPoint(&number, number);
    if (number >= inside_.size()) inside_.resize(number + 1);
    inside_[number] = true;
  }

  void remove(std::uint32_t number) {
    inside_[number] = false;
    links_.markDelete(number);
  }

  /// In no order.
  [[nodiscard]] std::vector<Neighbour> nearest(const float* unit, std::size_t many) {
    vectors_.asked = unit;
    std::vector<Neighbour> near;
    for (auto found = links_.searchKnn(&kAsked, many); !found.empty(); found.pop()) {
      near.push_back({static_cast<std::uint32_t>(found.top().second), 1 - found.top().first});
    }
    return near;
  }

  [[nodiscard]] std::uint64_t heap_bytes() const noexcept { return kGraphBytes + room_ * kNodeBytes; }
  [[nodiscard]] std::uint64_t heap_bytes_of_add() const noexcept { return full() ? room_ * 2 * kNodeBytes : 0; }

 private:
  size_t get_data_size() override { return sizeof(std::uint32_t); }
  hnswlib::DISTFUNC<float> get_dist_func() override { return distance; }
  void* get_dist_func_param() override { return &vectors_; }

  static float distance(const void* a, const void* b, const void* vectors) {
    auto& all = *static_cast<Vectors*>(const_cast<void*>(vectors));
    std::uint32_t first = *static_cast<const std::uint32_t*>(a);
    std::uint32_t second = *static_cast<const std::uint32_t*>(b);
    if (second == kAsked) std::swap(first, second);
    return 1 - all.cosine(first == kAsked ? all.asked : all.at(first), second);
  }

  Vectors& vectors_;
  hnswlib::HierarchicalNSW<float> links_;
  std::vector<bool> inside_;  ///< by number: the graph answers with it
  std::size_t room_;
};

struct NeighbourIndex::State {
  State(std::size_t dimension, std::uint32_t limit) : vectors(dimension), flat_limit(std::max(limit, 1U)) {}

  /// Moves some of the newest to the graph, or gives it up.
  void move_to_graph() noexcept {
    try {
      if (!graph) graph = std::make_unique<Graph>(vectors, std::bit_ceil(flat_limit + 1));
      for (std::uint32_t moved = 0; moved < kMovedByAdd && !compared.empty(); ++moved) {
        const std::uint32_t number = compared.back();
        if (graph->full() && !graph->knows(number)) graph->grow();
        graph->add(number);
        compared.pop_back();
      }
    } catch (const std::exception&) {
      give_graph_up();
    }
  }

  /// Allocates nothing: `compared` has room for every vector.
  void give_graph_up() noexcept {
    graph.reset();
    gave_up = true;
    compared.clear();
    for (std::uint32_t number = 0; number < used.size(); ++number) {
      if (used[number]) compared.push_back(number);
    }
  }

  Vectors vectors;
  const std::uint32_t flat_limit;
  std::unique_ptr<Graph> graph;         ///< null while flat
  std::vector<std::uint32_t> compared;  ///< numbers the graph does not answer with
  std::vector<std::uint32_t> free;      ///< numbers below vectors.size() that are not in use
  std::vector<bool> used;               ///< by number
  std::uint32_t count = 0;
  bool gave_up = false;  ///< until the index is small again
};

NeighbourIndex::NeighbourIndex(std::size_t dimension, std::uint32_t flat_limit)
    : state_(std::make_unique<State>(dimension, flat_limit)) {}
NeighbourIndex::~NeighbourIndex() = default;
NeighbourIndex::NeighbourIndex(NeighbourIndex&&) noexcept = default;
NeighbourIndex& NeighbourIndex::operator=(NeighbourIndex&&) noexcept = default;

std::uint32_t NeighbourIndex::add(std::span<const float> unit) {
  State& state = *state_;
  if (state.free.empty()) {
    const std::uint32_t size = state.vectors.size();
    state.compared.reserve(size + kChunk);
    state.free.reserve(size + kChunk);
    state.used.resize(size + kChunk);
    state.vectors.grow();
    for (std::uint32_t i = kChunk; i-- > 0;) state.free.push_back(size + i);
  }
  const std::uint32_t number = state.free.back();
  state.free.pop_back();
  std::copy(unit.begin(), unit.end(), state.vectors.at(number));
  state.used[number] = true;
  state.compared.push_back(number);
  ++state.count;
  if (state.graph || (state.count > state.flat_limit && !state.gave_up)) state.move_to_graph();
  return number;
}

void NeighbourIndex::remove(std::uint32_t number) noexcept {
  State& state = *state_;
  const auto newest = std::find(state.compared.begin(), state.compared.end(), number);
  if (newest != state.compared.end()) {
    *newest = state.compared.back();
    state.compared.pop_back();
  } else {
    state.graph->remove(number);
  }
  state.used[number] = false;
  state.free.push_back(number);
  --state.count;
  // Far enough below the limit, so that the graph is not built again at once.
  if (state.count <= state.flat_limit / 2) {
    if (state.graph) state.give_graph_up();
    state.gave_up = false;
  }
}

std::vector<NeighbourIndex::Neighbour> NeighbourIndex::nearest(std::span<const float> unit, std::size_t many) {
  State& state = *state_;
  std::vector<Neighbour> near;
  if (state.graph) {
    try {
      near = state.graph->nearest(unit.data(), many);
    } catch (const std::exception&) {
      state.give_graph_up();
    }
  }
  near.reserve(near.size() + state.compared.size());
  for (const std::uint32_t number : state.compared) {
    near.push_back({number, state.vectors.cosine(unit.data(), number)});
  }
  const auto nearer = [](const Neighbour& a, const Neighbour& b) { return a.cosine > b.cosine; };
  const auto last = near.begin() + static_cast<std::ptrdiff_t>(std::min(many, near.size()));
  std::partial_sort(near.begin(), last, near.end(), nearer);
  near.erase(last, near.end());
  return near;
}

std::uint32_t NeighbourIndex::count() const noexcept { return state_->count; }
bool NeighbourIndex::flat() const noexcept { return state_->graph == nullptr; }

std::uint64_t NeighbourIndex::heap_bytes() const noexcept {
  const State& state = *state_;
  return heap_charge(sizeof(State)) + state.vectors.heap_bytes() +
         heap_charge(state.compared.capacity() * sizeof(std::uint32_t)) +
         heap_charge(state.free.capacity() * sizeof(std::uint32_t)) + heap_charge(state.used.capacity() / 8) +
         (state.graph ? state.graph->heap_bytes() : 0);
}

std::uint64_t NeighbourIndex::heap_bytes_of_add() const noexcept {
  const State& state = *state_;
  std::uint64_t bytes = state.graph ? state.graph->heap_bytes_of_add() : 0;
  if (!state.graph && state.count + 1 > state.flat_limit && !state.gave_up) {
    bytes += kGraphBytes + std::bit_ceil(state.flat_limit + 1) * kNodeBytes;
  }
  if (state.free.empty())
    bytes += state.vectors.chunk_bytes() + 2 * sizeof(std::uint32_t) * (2 * state.used.size() + kChunk);
  return bytes;
}

}  // namespace tidegate
