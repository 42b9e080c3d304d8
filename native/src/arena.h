// The arena: allocator, object table and pins of one node, in one file that its processes share, and the spill files
// beside it. Knows nothing of JavaScript and throws nothing. Every public method may be called from any thread.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "free_tree.h"
#include "layout.h"

namespace tsray {

/** Part of an object: `length` bytes that belong at `offset` of it. */
struct Part {
  uint64_t offset;
  const uint8_t* bytes;
  size_t length;
};

enum class Put { ok, exists, full, damaged };
enum class Found { ok, missing, damaged };

struct Stats {
  uint64_t capacityBytes, usedBytes, evictableBytes, objects, pinnedObjects, evictions;
  uint64_t spilledBytes, spilledObjects, spillFiles, spilledBytesTotal, readBackBytesTotal;
  uint64_t damagedObjects;
  int spillErrno;
};

struct Listed {
  uint8_t key[kKeyBytes];
  uint64_t size;
  uint32_t state;
  bool secondary;
  bool onDisk;
  uint64_t pins;
};

/** Where an object was when it was looked up. In memory `generation` tells whether it still is; on disk only a pin does. */
struct Place {
  uint32_t block;
  uint32_t generation;
  uint64_t offset;
  uint64_t size;
  bool onDisk;
  uint32_t file;
  uint64_t fileOffset;
  uint32_t crc;
};

class Arena {
 public:
  /** Makes the file; 0 or an errno (ENOSPC: the file system cannot hold even the tables). */
  static int create(const char* path, uint64_t capacityBytes, const char* spillDir, std::shared_ptr<Arena>* out);
  /** Opens one; EBADMSG: not an arena of this version, or not ready. EUSERS: no attachment left. */
  static int open(const char* path, std::shared_ptr<Arena>* out);
  /** Gives back the attachment with its pins, and unmaps. */
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  Put create(const uint8_t* key, uint64_t size, bool secondary, Place* out);
  /** Allocates, copies (mutex released) and seals. Parts ascend and do not overlap; gaps become zeros. */
  Put put(const uint8_t* key, uint64_t size, const std::vector<Part>& parts, bool secondary);
  /** The half-made object that this attachment is writing. */
  Found findCreating(const uint8_t* key, Place* out);
  /** False: the disk does not take it (errno). */
  bool write(const Place& place, uint64_t offset, const uint8_t* bytes, size_t length);
  /** The memory of a half-made object; nullptr when it is made on disk. */
  uint8_t* memoryOf(const Place& place) const { return place.onDisk ? nullptr : data_ + place.offset; }
  Found seal(const uint8_t* key);
  Found abort(const uint8_t* key);
  void abortAll();

  /** Looks a sealed object up; `use` marks it as used just now. */
  Found find(const uint8_t* key, bool use, Place* out);
  /** Copies out of a place found before; false: it was deleted meanwhile, and what was copied is worthless. */
  bool readAt(const Place& place, uint64_t offset, uint8_t* to, size_t length) const;
  /** Pins and looks up. `*pin` is 0 when no pin could be had. */
  Found pin(const uint8_t* key, uint32_t* pin, Place* out);
  void unpin(uint32_t pin, uint32_t block);
  /** Maps a pinned place private and writable, page-aligned; nullptr when the kernel refuses. */
  uint8_t* mapPrivate(const Place& place, void** map, size_t* mapBytes) const;
  /** Reads a pinned place on disk; false when the disk does not give it. */
  bool readDisk(const Place& place, uint64_t offset, uint8_t* to, size_t length) const;
  /** Compares an object that was mapped from disk with its checksum, and counts it; a damaged one is dropped. */
  bool checkReadBack(const uint8_t* key, const Place& place, const uint8_t* bytes);
  /** Writes primary copies out until at most `usedBytes` are taken by what cannot be evicted, or nothing more can be. */
  bool spillDownTo(uint64_t usedBytes);

  /** Makes a secondary copy the primary one: it is not evicted any more. A primary one stays what it is. */
  Found keep(const uint8_t* key);
  Found remove(const uint8_t* key);
  /** Deletes every sealed object whose key begins so; how many that were, in `*count`. False: damaged. */
  bool removeAll(const uint8_t* prefix, size_t bytes, uint64_t* count);
  /** Drops what a dead process held. False: it is still running and nothing was done. */
  bool reclaim(pid_t pid, bool* damaged);
  bool stats(Stats* out);
  bool list(size_t limit, std::vector<Listed>* out);
  /** Compares everything derived with the table. Empty when it all holds. */
  std::string check();
  /** Has the kernel find and clear pages of the data ahead of use, without mapping them; false when memory is short. */
  bool prefault(uint64_t offset, uint64_t bytes);
  uint64_t capacityBytes() const { return layout_.capacityBytes; }

 private:
  /** Holds the mutex; repairs first when its last holder died. Not ok: the arena can no longer be used. */
  class Lock {
   public:
    explicit Lock(Arena* arena);
    /** Also does what was put off until the mutex is free. */
    ~Lock();
    bool ok() const { return ok_; }

   private:
    Arena* arena_;
    bool ok_;
  };

  /** Disk space to be given back once the mutex is free: a range of an open file, or (fd < 0) a whole file. */
  struct DiskWork {
    int fd;
    uint32_t file;
    uint64_t offset, bytes;
  };

  /** An object that this process is writing out: pinned, with room reserved in a file. */
  struct Victim {
    uint32_t block;
    uint32_t pin;
    uint64_t offset, size;
    uint32_t file;
    uint64_t fileOffset;
    uint32_t crc;
    bool written;
  };

  Arena(int fd, uint8_t* base, const Layout& layout);
  static int map(int fd, const Layout& layout, std::shared_ptr<Arena>* out);
  int format(bool spills);
  bool attach();

  int commit(uint64_t fileOffset, uint64_t bytes) const;
  bool makePresent(uint64_t offset, uint64_t bytes);
  bool populate(uint64_t offset, uint64_t bytes) const;

  uint32_t lookup(const uint8_t* key) const;
  uint32_t* bucketOf(const uint8_t* key) const;
  void indexInsert(uint32_t block);
  void indexRemove(uint32_t block);
  void indexGrow();
  void indexRebuild();

  uint32_t takeEntry();
  void giveEntry(uint32_t block);
  uint32_t allocate(const uint8_t* key, uint64_t size, bool secondary);
  bool makeRoom(uint64_t bytes, bool* swept);
  void carve(uint32_t gap, uint32_t block, uint64_t bytes);
  void release(uint32_t block);
  void releaseData(uint32_t entry);
  void drop(uint32_t block);
  void sealBlock(uint32_t block);
  uint32_t creatingByMe(const uint8_t* key) const;

  void lruAppend(uint32_t block);
  void lruRemove(uint32_t block);
  /** Whether it may be evicted or spilled, and so is in a list. */
  bool leavable(const Block& block) const;

  // On disk; in spill.cc.
  bool spills() const { return header_->spillDir[0] != '\0'; }
  void spillPath(uint32_t file, char* out, size_t bytes) const;
  int openSpillFile(uint32_t file, int flags) const;
  bool reserveOnDisk(uint64_t size, uint32_t* file, uint64_t* fileOffset);
  bool diskHasRoom(uint64_t bytes);
  uint64_t spillStep() const;
  void dropFromFile(uint32_t file, uint64_t fileOffset, uint64_t size);
  void doDiskWork(const std::vector<DiskWork>& work);
  void pickVictims(uint64_t wanted, std::vector<Victim>* out);
  void writeVictims(std::vector<Victim>* victims);
  void publishVictims(const std::vector<Victim>& victims);
  void stopSpilling(uint32_t block);
  bool spillFor(uint64_t bytes);
  Put createOnDisk(const uint8_t* key, uint64_t size, bool secondary, Place* out);
  bool writeDisk(const Place& place, uint64_t offset, const uint8_t* bytes, size_t length) const;
  bool crcOnDisk(const Place& place, uint32_t* crc) const;
  Place placeOf(uint32_t block) const;

  uint32_t pinBlock(uint32_t block);
  void forgetPin(uint32_t pin);
  void dropAttachment(uint32_t attachment);
  bool dropDead();

  void repair();
  void repairSpillFiles();
  bool validObject(const Block& block) const;
  static bool isObject(uint32_t state) { return state >= kCreating && state <= kDeleting; }

  const int fd_;
  uint8_t* const base_;
  const Layout layout_;
  Header* const header_;
  Attachment* const attachments_;
  SpillFile* const spillFiles_;
  Block* const blocks_;
  Pin* const pins_;
  uint32_t* const buckets_;
  uint8_t* const data_;
  FreeTree gaps_;
  uint32_t attachment_ = 0;
  /** Which segments this process has made present: only those may be written without fear of SIGBUS. */
  std::vector<std::atomic<uint8_t>> present_;
  /** Guarded by the mutex; see DiskWork. */
  std::vector<DiskWork> later_;
};

/** Other processes read this word without the mutex, or find it after a crash: it must change last, and at once. */
inline void publish(uint32_t* word, uint32_t value) { __atomic_store_n(word, value, __ATOMIC_RELEASE); }

/** Test hook: with TSRAY_TEST_ARENA_KILL_AT=n in the environment the process kills itself at the n-th such point. */
void crashPoint();

}  // namespace tsray
