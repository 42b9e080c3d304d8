// After a crash inside the mutex: builds everything derived from the block table again. And the same rules as a check.
#include <string.h>

#include <utility>

#include "arena.h"

namespace tsray {

bool Arena::validObject(const Block& block) const {
  return isObject(block.state) && block.offset % kAlignBytes == 0 && block.bytes % kAlignBytes == 0 &&
         block.bytes != 0 && block.bytes <= layout_.capacityBytes &&
         block.offset <= layout_.capacityBytes - block.bytes && block.size <= block.bytes &&
         block.creator < kAttachmentsMax;
}

// May itself be cut short by a crash: it only reads the truth, or takes out of it what nobody can reach, so that the
// next holder of the mutex repairs again from the start.
void Arena::repair() {
  const auto byOffset = [this](uint32_t a, uint32_t b) { return blocks_[a].offset < blocks_[b].offset; };
  header_->blocksUsed = std::min({header_->blocksUsed, header_->blocksCommitted, layout_.blocksMax});
  header_->pinsUsed = std::min({header_->pinsUsed, header_->pinsCommitted, layout_.pinsMax});
  std::vector<uint32_t> objects;
  for (uint32_t i = 1; i < header_->blocksUsed; i++) {
    if (validObject(blocks_[i])) {
      objects.push_back(i);
    } else {
      blocks_[i].state = kUnused;
    }
    blocks_[i].pins = blocks_[i].prev = blocks_[i].next = blocks_[i].left = blocks_[i].right = 0;
  }
  std::sort(objects.begin(), objects.end(), byOffset);

  // Pins first: a deleted object lives as long as it has one.
  header_->freePinHead = 0;
  for (uint32_t i = 1; i < header_->pinsUsed; i++) {
    Pin& pin = pins_[i];
    const bool held = pin.count != 0 && pin.block != 0 && pin.block < header_->blocksUsed &&
                      (blocks_[pin.block].state == kSealed || blocks_[pin.block].state == kDeleting);
    uint32_t* list = held ? &blocks_[pin.block].pins : &header_->freePinHead;
    if (!held) pin.count = 0;
    pin.next = *list;
    *list = i;
  }

  // Unused entries, counters, gaps between the objects.
  header_->usedBytes = header_->evictableBytes = header_->objects = header_->pinnedObjects = 0;
  header_->freeRoot = header_->unusedHead = header_->lruHead = header_->lruTail = 0;
  std::vector<uint32_t> kept, evictables;
  uint64_t at = 0;
  std::vector<std::pair<uint64_t, uint64_t>> gaps;
  for (const uint32_t i : objects) {
    Block& block = blocks_[i];
    if (block.offset < at || (block.state == kDeleting && block.pins == 0)) {
      block.generation++;
      block.state = kUnused;
      for (uint32_t p = block.pins; p != 0;) {
        const uint32_t next = pins_[p].next;
        pins_[p].count = 0;
        pins_[p].next = header_->freePinHead;
        header_->freePinHead = p;
        p = next;
      }
      block.pins = 0;
      continue;
    }
    if (block.offset > at) gaps.emplace_back(at, block.offset - at);
    at = block.offset + block.bytes;
    kept.push_back(i);
    header_->usedBytes += block.bytes;
    header_->objects++;
    if (block.pins != 0) header_->pinnedObjects++;
    if (evictable(block)) evictables.push_back(i);
  }
  if (at < layout_.capacityBytes) gaps.emplace_back(at, layout_.capacityBytes - at);
  for (uint32_t i = header_->blocksUsed - 1; i >= 1; i--) {
    if (blocks_[i].state == kUnused) giveEntry(i);
  }
  for (const auto& [offset, bytes] : gaps) {
    const uint32_t entry = takeEntry();
    if (entry == 0) break;  // no memory for the table: that gap is lost until a neighbour is freed
    blocks_[entry].offset = offset;
    blocks_[entry].bytes = bytes;
    blocks_[entry].state = kFree;
    gaps_.insert(entry);
  }
  std::sort(evictables.begin(), evictables.end(),
            [this](uint32_t a, uint32_t b) { return blocks_[a].lastUse < blocks_[b].lastUse; });
  for (const uint32_t i : evictables) lruAppend(i);

  uint32_t buckets = kBucketsAtStart;
  while (buckets * 2 <= header_->bucketsCommitted && buckets < header_->bucketCount) buckets *= 2;
  header_->bucketCount = buckets;
  indexRebuild();
}

std::string Arena::check() {
  Lock lock(this);
  if (!lock.ok()) return "the mutex cannot be recovered";
  uint64_t used = 0, objects = 0, pinned = 0, evictableBytes = 0, unused = 0, evictables = 0, gapCount = 0;
  std::vector<uint32_t> tiles;
  for (uint32_t i = 1; i < header_->blocksUsed; i++) {
    const Block& block = blocks_[i];
    const std::string name = "block " + std::to_string(i);
    if (block.state == kUnused) {
      unused++;
      continue;
    }
    tiles.push_back(i);
    if (block.state == kFree) {
      gapCount++;
      if (gaps_.after(block.offset) != i) return name + " is a gap that the free tree does not find";
      continue;
    }
    if (!validObject(block)) return name + " is no valid object";
    used += block.bytes;
    objects++;
    if (block.pins != 0) pinned++;
    if (evictable(block)) {
      evictables++;
      evictableBytes += block.bytes;
    }
    if ((block.state == kDeleting) == (lookup(block.key) == i)) return name + " is wrongly indexed";
    if (block.state == kDeleting && block.pins == 0) return name + " is deleted, unpinned and still there";
    for (uint32_t p = block.pins; p != 0; p = pins_[p].next) {
      if (pins_[p].count == 0 || pins_[p].block != i) return name + " has a pin that is not its own";
      if (attachments_[pins_[p].attachment].pid == 0) return name + " is pinned by nobody";
    }
  }
  std::sort(tiles.begin(), tiles.end(),
            [this](uint32_t a, uint32_t b) { return blocks_[a].offset < blocks_[b].offset; });
  uint64_t at = 0;
  bool gapBefore = false;
  for (const uint32_t i : tiles) {
    if (blocks_[i].offset != at) return "the blocks do not tile the data at byte " + std::to_string(at);
    at += blocks_[i].bytes;
    const bool gap = blocks_[i].state == kFree;
    if (gap && gapBefore) return "two gaps side by side end at byte " + std::to_string(at);
    gapBefore = gap;
  }
  if (at != layout_.capacityBytes) return "the blocks end at byte " + std::to_string(at);
  for (uint32_t i = header_->unusedHead; i != 0; i = blocks_[i].next) {
    if (unused-- == 0) return "the list of unused entries is too long";
  }
  if (unused != 0) return std::to_string(unused) + " unused entries are lost";
  uint64_t indexed = 0;
  for (uint32_t b = 0; b < header_->bucketCount; b++) {
    for (uint32_t i = buckets_[b]; i != 0 && indexed <= objects; i = blocks_[i].hashNext) {
      if (blocks_[i].state != kCreating && blocks_[i].state != kSealed) return "the index holds a dead block";
      indexed++;
    }
  }
  if (indexed > objects) return "the index holds " + std::to_string(indexed) + " objects";
  for (uint32_t i = header_->lruHead; i != 0; i = blocks_[i].next) {
    if (!evictable(blocks_[i]) || evictables-- == 0) return "the eviction list holds a block that cannot be evicted";
  }
  if (evictables != 0) return "the eviction list lacks " + std::to_string(evictables);
  if (used != header_->usedBytes) return "usedBytes is off";
  if (objects != header_->objects) return "objects is off";
  if (pinned != header_->pinnedObjects) return "pinnedObjects is off";
  if (evictableBytes != header_->evictableBytes) return "evictableBytes is off";
  return "";
}

}  // namespace tsray
