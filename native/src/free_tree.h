// The gaps of the data region as a treap ordered by offset, each node knowing the largest gap below it. Finds the lowest
// gap that fits in O(log n): low addresses are used again first, so their pages are warm. Called with the mutex held.
#pragma once

#include "layout.h"

namespace tsray {

class FreeTree {
 public:
  FreeTree(Block* blocks, uint32_t* root) : blocks_(blocks), root_(root) {}

  /** The lowest gap of at least `bytes`, or 0. */
  uint32_t firstFit(uint64_t bytes) const;
  void insert(uint32_t node);
  void remove(uint32_t node);
  /** The gap with the highest offset below `offset`, or 0. */
  uint32_t before(uint64_t offset) const;
  /** The gap with the lowest offset at or above `offset`, or 0. */
  uint32_t after(uint64_t offset) const;

 private:
  uint64_t maxOf(uint32_t node) const { return node == 0 ? 0 : blocks_[node].maxBytes; }
  void pull(uint32_t node);
  /** Cuts a tree in two: offsets below `offset`, and the rest. */
  void split(uint32_t tree, uint64_t offset, uint32_t* below, uint32_t* rest);
  uint32_t merge(uint32_t low, uint32_t high);

  Block* blocks_;
  uint32_t* root_;
};

}  // namespace tsray
