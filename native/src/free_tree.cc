#include "free_tree.h"

namespace tsray {

namespace {

/** A treap needs random priorities; a mixed index is random enough and needs no room. */
uint32_t priority(uint32_t node) {
  uint32_t x = node * 0x9e3779b1u;
  x ^= x >> 15;
  x *= 0x85ebca77u;
  x ^= x >> 13;
  return x;
}

}  // namespace

uint32_t FreeTree::firstFit(uint64_t bytes) const {
  uint32_t node = *root_;
  if (maxOf(node) < bytes) return 0;
  for (;;) {
    const Block& block = blocks_[node];
    if (maxOf(block.left) >= bytes) {
      node = block.left;
    } else if (block.bytes >= bytes) {
      return node;
    } else {
      node = block.right;
    }
  }
}

void FreeTree::insert(uint32_t node) {
  Block& block = blocks_[node];
  uint32_t below = 0, rest = 0;
  split(*root_, block.offset, &below, &rest);
  block.left = block.right = 0;
  pull(node);
  *root_ = merge(merge(below, node), rest);
}

void FreeTree::remove(uint32_t node) {
  const uint64_t offset = blocks_[node].offset;
  uint32_t below = 0, rest = 0, self = 0, above = 0;
  split(*root_, offset, &below, &rest);
  split(rest, offset + 1, &self, &above);
  *root_ = merge(below, above);
}

uint32_t FreeTree::before(uint64_t offset) const {
  uint32_t best = 0;
  for (uint32_t node = *root_; node != 0;) {
    if (blocks_[node].offset < offset) {
      best = node;
      node = blocks_[node].right;
    } else {
      node = blocks_[node].left;
    }
  }
  return best;
}

uint32_t FreeTree::after(uint64_t offset) const {
  uint32_t best = 0;
  for (uint32_t node = *root_; node != 0;) {
    if (blocks_[node].offset >= offset) {
      best = node;
      node = blocks_[node].left;
    } else {
      node = blocks_[node].right;
    }
  }
  return best;
}

void FreeTree::pull(uint32_t node) {
  Block& block = blocks_[node];
  uint64_t most = block.bytes;
  if (maxOf(block.left) > most) most = maxOf(block.left);
  if (maxOf(block.right) > most) most = maxOf(block.right);
  block.maxBytes = most;
}

void FreeTree::split(uint32_t tree, uint64_t offset, uint32_t* below, uint32_t* rest) {
  if (tree == 0) {
    *below = *rest = 0;
    return;
  }
  Block& block = blocks_[tree];
  uint32_t cut = 0;
  if (block.offset < offset) {
    split(block.right, offset, &cut, rest);
    block.right = cut;
    *below = tree;
  } else {
    split(block.left, offset, below, &cut);
    block.left = cut;
    *rest = tree;
  }
  pull(tree);
}

uint32_t FreeTree::merge(uint32_t low, uint32_t high) {
  if (low == 0) return high;
  if (high == 0) return low;
  if (priority(low) > priority(high)) {
    blocks_[low].right = merge(blocks_[low].right, high);
    pull(low);
    return low;
  }
  blocks_[high].left = merge(low, blocks_[high].left);
  pull(high);
  return high;
}

}  // namespace tsray
