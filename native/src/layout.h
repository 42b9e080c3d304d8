// What lies in the arena's file, byte by byte. Every process of the node maps the same file, so nothing here may hold a
// pointer: blocks, pins and attachments are named by their index, and index 0 means "none".
//
//   Header | attachments | spill files | blocks | pins | buckets | data
//
// The truth is the block table: the entries whose state is creating, sealed or deleting, with their places in the data
// or in a spill file, and the pins whose count is above zero. Everything else (free tree, hash index, lists, counters,
// how many objects a spill file holds) is derived from it and is built again by repair() when a process died while it
// held the mutex.
#pragma once

#include <pthread.h>

#include <cstddef>
#include <cstdint>

namespace tsray {

constexpr uint64_t kMagic = 0x31414e4552415354;  // "TSARENA1"
constexpr uint32_t kVersion = 2;
constexpr size_t kKeyBytes = 16;
/** Every object starts at a multiple of this. */
constexpr uint64_t kAlignBytes = 64;
constexpr uint64_t kPageBytes = 4096;
/** Step in which a process makes data pages present before it writes to them. */
constexpr uint64_t kSegmentBytes = 256 * 1024;
constexpr uint32_t kAttachmentsMax = 4096;
constexpr uint32_t kBlocksPerStep = 1024;
constexpr uint32_t kBlocksAtStart = 4 * kBlocksPerStep;
constexpr uint32_t kPinsPerStep = 4096;
constexpr uint32_t kBucketsAtStart = 4096;
/** Objects on disk beside those in memory. */
constexpr uint32_t kSpilledMax = 1u << 20;
constexpr uint32_t kSpillFilesMax = 16384;
constexpr size_t kSpillDirBytesMax = 512;

enum BlockState : uint32_t {
  kUnused = 0,    // a spare entry of the table
  kFree = 1,      // a gap in the data, in the free tree
  kCreating = 2,  // being written by its creator
  kSealed = 3,    // immutable, readable by all
  kDeleting = 4,  // deleted, kept until its last pin goes; no longer in the index
};

struct Block {
  uint8_t key[kKeyBytes];
  uint64_t offset;      // from the start of the data
  uint64_t bytes;       // length of the block, a multiple of kAlignBytes
  uint64_t size;        // length of the object
  uint64_t lastUse;     // Header::tick of the last get, for eviction and spilling
  uint64_t maxBytes;    // free tree: the largest block of the subtree
  uint64_t fileOffset;  // where it lies, or is being written, in spill file `file`
  uint32_t file;        // 0: none
  uint32_t onDisk;      // 1: its bytes lie in `file` and no longer in the data; published last
  uint32_t spiller;     // attachment that is writing it to `file`; 0: nobody
  uint32_t crc;         // CRC-32C of the bytes on disk
  uint32_t state;
  uint32_t generation;  // grows before the bytes of the block may be used for something else
  uint32_t secondary;   // 1: a copy that may be evicted
  uint32_t creator;     // attachment that is writing it
  uint32_t hashNext;
  uint32_t pins;         // head of the list of its pins
  uint32_t prev, next;   // list of what may be evicted or spilled; `next` also chains unused entries
  uint32_t left, right;  // free tree
};

enum SpillFileState : uint32_t {
  kNoFile = 0,
  kFileInUse = 1,
  kFileLeaving = 2,  // empty; `remover` is about to unlink it, or has just made it
};

/** One file of fused objects in the spill directory; its name is its index. */
struct SpillFile {
  uint32_t state;
  uint32_t objects;  // that lie in it or are being written to it
  uint32_t remover;
  uint32_t reserved;
};

/** One attachment's hold on one block. In use while count > 0. */
struct Pin {
  uint32_t block;
  uint32_t attachment;
  uint32_t count;
  uint32_t next;
};

/** One open Arena of one process. In use while pid != 0. */
struct Attachment {
  uint32_t pid;
  uint32_t reserved;
  uint64_t startTime;  // of the process, so that a reused pid is not taken for it
};

struct Header {
  uint64_t magic;  // written last: without it the file is not ready
  uint32_t version;
  uint32_t blockStructBytes;
  uint64_t capacityBytes;
  uint64_t fileBytes;
  pthread_mutex_t mutex;
  // Derived or advisory; guarded by the mutex.
  uint64_t usedBytes;
  uint64_t objects;  // in memory
  uint64_t pinnedObjects;
  uint64_t evictions;
  uint64_t tick;
  uint64_t spilledBytes, spilledObjects;  // on disk now
  uint64_t spilledBytesTotal, readBackBytesTotal, damagedObjects;
  uint64_t spillEnd;  // where the next object goes in `spillFile`
  uint32_t spillFile;
  uint32_t spillFiles;  // in use
  uint32_t spilling;    // objects that some process is writing out
  int32_t spillErrno;   // why the last attempt to write out failed; 0: it did not
  uint32_t freeRoot;
  uint32_t unusedHead;
  // Least recently used first, unpinned and sealed in memory. 0: primary copies, to be spilled; 1: secondary, to be evicted.
  uint32_t lruHead[2], lruTail[2];
  uint64_t lruBytes[2];
  uint32_t bucketCount;
  uint32_t freePinHead;
  // How far each table has been used and how much of it is backed by memory. They only grow.
  uint32_t blocksUsed, blocksCommitted;
  uint32_t pinsUsed, pinsCommitted;
  uint32_t bucketsCommitted;
  uint32_t spillTableReady;
  char spillDir[kSpillDirBytesMax];  // empty: nothing is ever written out
};

/** Where each part of the file starts; a function of the capacity alone. */
struct Layout {
  uint64_t capacityBytes;
  uint32_t objectsMax, blocksMax, pinsMax, bucketsMax;
  uint64_t attachments, spillFiles, blocks, pins, buckets, data, fileBytes;

  static uint64_t up(uint64_t n, uint64_t step) { return (n + step - 1) / step * step; }

  explicit Layout(uint64_t capacity) : capacityBytes(up(capacity, kPageBytes)) {
    uint64_t wanted = capacityBytes / 2048;
    if (wanted < 4096) wanted = 4096;
    if (wanted > (1u << 20)) wanted = 1u << 20;
    objectsMax = static_cast<uint32_t>(wanted);
    // There is at most one gap more than there are objects, so an object below the limit always finds an entry.
    blocksMax = static_cast<uint32_t>(up(2 * wanted + 2 + kSpilledMax, kBlocksPerStep));
    pinsMax = objectsMax + 65536;
    bucketsMax = kBucketsAtStart;
    while (bucketsMax < objectsMax + kSpilledMax) bucketsMax *= 2;
    attachments = up(sizeof(Header), kPageBytes);
    spillFiles = up(attachments + kAttachmentsMax * sizeof(Attachment), kPageBytes);
    blocks = up(spillFiles + kSpillFilesMax * sizeof(SpillFile), kPageBytes);
    pins = up(blocks + blocksMax * sizeof(Block), kPageBytes);
    buckets = up(pins + pinsMax * sizeof(Pin), kPageBytes);
    data = up(buckets + bucketsMax * sizeof(uint32_t), 2 * 1024 * 1024);
    fileBytes = data + capacityBytes;
  }
};

}  // namespace tsray
