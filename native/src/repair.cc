// After a crash inside the mutex: builds everything derived from the block table again. And the same rules as a check.
#include <string.h>

#include <utility>

#include "arena.h"

namespace tsray {

bool Arena::validObject(const Block& block) const {
  if (!isObject(block.state) || block.creator >= kAttachmentsMax || block.secondary > 1) return false;
  if (block.onDisk != 0 || block.spiller != 0) {
    const bool placed = header_->spillTableReady != 0 && block.file != 0 && block.file < kSpillFilesMax &&
                        spillFiles_[block.file].state == kFileInUse && block.spiller < kAttachmentsMax;
    if (!placed || block.onDisk != 0) return placed;
  }
  return block.offset % kAlignBytes == 0 && block.bytes % kAlignBytes == 0 &&
         block.bytes != 0 && block.bytes <= layout_.capacityBytes &&
         block.offset <= layout_.capacityBytes - block.bytes && block.size <= block.bytes;
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
  header_->usedBytes = header_->objects = header_->pinnedObjects = 0;
  header_->spilledBytes = header_->spilledObjects = 0;
  header_->freeRoot = header_->unusedHead = header_->spilling = 0;
  for (int list = 0; list < 2; list++) {
    header_->lruHead[list] = header_->lruTail[list] = 0;
    header_->lruBytes[list] = 0;
  }
  for (uint32_t i = 1; header_->spillTableReady != 0 && i < kSpillFilesMax; i++) spillFiles_[i].objects = 0;
  std::vector<uint32_t> leavables;
  uint64_t at = 0;
  std::vector<std::pair<uint64_t, uint64_t>> gaps;
  for (const uint32_t i : objects) {
    Block& block = blocks_[i];
    if ((block.onDisk == 0 && block.offset < at) || (block.state == kDeleting && block.pins == 0)) {
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
    if (block.pins != 0) header_->pinnedObjects++;
    if (block.onDisk != 0) {
      block.spiller = 0;
      block.offset = block.bytes = 0;
      spillFiles_[block.file].objects++;
      header_->spilledBytes += block.size;
      header_->spilledObjects++;
      continue;
    }
    if (block.spiller != 0) {
      spillFiles_[block.file].objects++;
      header_->spilling++;
    } else {
      block.file = 0;
    }
    if (block.offset > at) gaps.emplace_back(at, block.offset - at);
    at = block.offset + block.bytes;
    header_->usedBytes += block.bytes;
    header_->objects++;
    if (leavable(block)) leavables.push_back(i);
  }
  repairSpillFiles();
  if (at < layout_.capacityBytes) gaps.emplace_back(at, layout_.capacityBytes - at);
  for (uint32_t i = header_->blocksUsed - 1; i >= 1; i--) {
    if (blocks_[i].state == kUnused) giveEntry(i);
  }
  for (const auto& [offset, bytes] : gaps) {
    const uint32_t entry = takeEntry();
    if (entry == 0) break;  // no memory for the table: that gap is lost until a neighbour is freed
    blocks_[entry].offset = offset;
    blocks_[entry].bytes = bytes;
    blocks_[entry].file = blocks_[entry].onDisk = blocks_[entry].spiller = 0;
    blocks_[entry].state = kFree;
    gaps_.insert(entry);
  }
  std::sort(leavables.begin(), leavables.end(),
            [this](uint32_t a, uint32_t b) { return blocks_[a].lastUse < blocks_[b].lastUse; });
  for (const uint32_t i : leavables) lruAppend(i);

  uint32_t buckets = kBucketsAtStart;
  while (buckets * 2 <= header_->bucketsCommitted && buckets < header_->bucketCount) buckets *= 2;
  header_->bucketCount = buckets;
  indexRebuild();
}

/** After the objects in each file have been counted: empty files leave. */
void Arena::repairSpillFiles() {
  header_->spillFiles = 0;
  if (header_->spillTableReady == 0) return;
  for (uint32_t i = 1; i < kSpillFilesMax; i++) {
    SpillFile& file = spillFiles_[i];
    if (file.state == kFileInUse && file.objects == 0) {
      if (header_->spillFile == i) header_->spillFile = 0;
      file.remover = attachment_;
      file.state = kFileLeaving;
      later_.push_back({-1, i, 0, 0});
    }
    if (file.state == kFileInUse) header_->spillFiles++;
  }
}

std::string Arena::check() {
  Lock lock(this);
  if (!lock.ok()) return "the mutex cannot be recovered";
  uint64_t used = 0, objects = 0, pinned = 0, unused = 0, gapCount = 0, spilled = 0, spilledBytes = 0, spilling = 0;
  uint64_t leavables[2] = {0, 0}, leavableBytes[2] = {0, 0};
  std::vector<uint32_t> tiles, inFile(kSpillFilesMax);
  for (uint32_t i = 1; i < header_->blocksUsed; i++) {
    const Block& block = blocks_[i];
    const std::string name = "block " + std::to_string(i);
    if (block.state == kUnused) {
      unused++;
      continue;
    }
    if (block.onDisk == 0 || !isObject(block.state)) tiles.push_back(i);
    if (block.state == kFree) {
      gapCount++;
      if (gaps_.after(block.offset) != i) return name + " is a gap that the free tree does not find";
      continue;
    }
    if (!validObject(block)) return name + " is no valid object";
    if (block.pins != 0) pinned++;
    if (block.onDisk != 0) {
      if (block.spiller != 0) return name + " is on disk and being written there";
      inFile[block.file]++;
      spilled++;
      spilledBytes += block.size;
    } else {
      used += block.bytes;
      objects++;
      if (block.spiller != 0) {
        inFile[block.file]++;
        spilling++;
        if (block.pins == 0) return name + " is being written out unpinned";
      } else if (block.file != 0) {
        return name + " in memory names a spill file";
      }
    }
    if (leavable(block)) {
      leavables[block.secondary]++;
      leavableBytes[block.secondary] += block.bytes;
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
    for (uint32_t i = buckets_[b]; i != 0 && indexed <= objects + spilled; i = blocks_[i].hashNext) {
      if (blocks_[i].state != kCreating && blocks_[i].state != kSealed) return "the index holds a dead block";
      indexed++;
    }
  }
  if (indexed > objects + spilled) return "the index holds " + std::to_string(indexed) + " objects";
  for (int list = 0; list < 2; list++) {
    const std::string name = list == 0 ? "the list of what may be spilled" : "the list of what may be evicted";
    for (uint32_t i = header_->lruHead[list]; i != 0; i = blocks_[i].next) {
      const bool belongs = leavable(blocks_[i]) && blocks_[i].secondary == static_cast<uint32_t>(list);
      if (!belongs || leavables[list]-- == 0) return name + " holds a block that does not belong there";
    }
    if (leavables[list] != 0) return name + " lacks " + std::to_string(leavables[list]);
    if (leavableBytes[list] != header_->lruBytes[list]) return name + " counts its bytes wrongly";
  }
  uint64_t files = 0;
  for (uint32_t i = 1; header_->spillTableReady != 0 && i < kSpillFilesMax; i++) {
    const SpillFile& file = spillFiles_[i];
    const std::string name = "spill file " + std::to_string(i);
    if (file.state == kFileInUse) files++;
    if (file.state == kFileInUse && file.objects == 0) return name + " is empty and still there";
    if (inFile[i] != (file.state == kFileInUse ? file.objects : 0)) return name + " counts its objects wrongly";
  }
  if (files != header_->spillFiles) return "spillFiles is off";
  if (spilled != header_->spilledObjects) return "spilledObjects is off";
  if (spilledBytes != header_->spilledBytes) return "spilledBytes is off";
  if (spilling != header_->spilling) return "spilling is off";
  if (used != header_->usedBytes) return "usedBytes is off";
  if (objects != header_->objects) return "objects is off";
  if (pinned != header_->pinnedObjects) return "pinnedObjects is off";
  return "";
}

}  // namespace tsray
