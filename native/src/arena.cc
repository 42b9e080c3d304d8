#include "arena.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "copy.h"
#include "process.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace tsray {

namespace {

/** Fewer bytes than this are not worth a thread that populates them. */
constexpr uint64_t kPopulateAloneBytes = 8 * 1024 * 1024;

uint64_t blockBytes(uint64_t size) { return size == 0 ? kAlignBytes : Layout::up(size, kAlignBytes); }

int reserve(int fd, uint64_t offset, uint64_t bytes) {
  int error;
  do {
    error = posix_fallocate(fd, static_cast<off_t>(offset), static_cast<off_t>(bytes));
  } while (error == EINTR);
  return error;
}

}  // namespace

void crashPoint() {
  static std::atomic<long> left{[] {
    const char* text = getenv("TSRAY_TEST_ARENA_KILL_AT");
    return text == nullptr ? -1 : atol(text);
  }()};
  if (left.load(std::memory_order_relaxed) < 0) return;
  if (--left == 0) kill(getpid(), SIGKILL);
}

// ---------------------------------------------------------------------------------------------- open, close, lock

Arena::Arena(int fd, uint8_t* base, const Layout& layout)
    : fd_(fd),
      base_(base),
      layout_(layout),
      header_(reinterpret_cast<Header*>(base)),
      attachments_(reinterpret_cast<Attachment*>(base + layout.attachments)),
      spillFiles_(reinterpret_cast<SpillFile*>(base + layout.spillFiles)),
      blocks_(reinterpret_cast<Block*>(base + layout.blocks)),
      pins_(reinterpret_cast<Pin*>(base + layout.pins)),
      buckets_(reinterpret_cast<uint32_t*>(base + layout.buckets)),
      data_(base + layout.data),
      gaps_(blocks_, &header_->freeRoot),
      present_((layout.capacityBytes + kSegmentBytes - 1) / kSegmentBytes) {}

Arena::~Arena() {
  if (attachment_ != 0) {
    Lock lock(this);
    if (lock.ok()) {
      dropAttachment(attachment_);
      publish(&attachments_[attachment_].pid, 0);
    }
  }
  munmap(base_, layout_.fileBytes);
  close(fd_);
}

int Arena::map(int fd, const Layout& layout, std::shared_ptr<Arena>* out) {
  void* base = mmap(nullptr, layout.fileBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
  if (base == MAP_FAILED) {
    const int error = errno;
    close(fd);
    return error;
  }
  auto* bytes = static_cast<uint8_t*>(base);
  madvise(bytes + layout.data, layout.capacityBytes, MADV_DONTDUMP);
  out->reset(new Arena(fd, bytes, layout));
  return 0;
}

int Arena::create(const char* path, uint64_t capacityBytes, const char* spillDir, std::shared_ptr<Arena>* out) {
  const Layout layout(capacityBytes);
  if (strlen(spillDir) >= kSpillDirBytesMax) return ENAMETOOLONG;
  const int fd = ::open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return errno;
  // Sparse: the tables and the data get their pages as they are first used.
  int error = ftruncate(fd, static_cast<off_t>(layout.fileBytes)) == 0 ? 0 : errno;
  if (error == 0) error = reserve(fd, 0, layout.spillFiles);
  if (error != 0) close(fd);
  if (error == 0) error = map(fd, layout, out);
  if (error == 0) error = (*out)->format(spillDir[0] != '\0');
  if (error == 0) strcpy((*out)->header_->spillDir, spillDir);
  if (error == 0 && !(*out)->attach()) error = EUSERS;
  if (error != 0) {
    out->reset();
    unlink(path);
  }
  return error;
}

int Arena::open(const char* path, std::shared_ptr<Arena>* out) {
  const int fd = ::open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return errno;
  struct stat info;
  Header head;
  const bool readable = fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_uid == geteuid() &&
                        pread(fd, &head, sizeof head, 0) == static_cast<ssize_t>(sizeof head);
  if (!readable || head.magic != kMagic || head.version != kVersion || head.blockStructBytes != sizeof(Block) ||
      Layout(head.capacityBytes).fileBytes != static_cast<uint64_t>(info.st_size)) {
    close(fd);
    return EBADMSG;
  }
  int error = map(fd, Layout(head.capacityBytes), out);
  if (error == 0 && !(*out)->attach()) error = EUSERS;
  if (error != 0) out->reset();
  return error;
}

int Arena::format(bool spills) {
  header_->version = kVersion;
  header_->blockStructBytes = sizeof(Block);
  header_->capacityBytes = layout_.capacityBytes;
  header_->fileBytes = layout_.fileBytes;
  header_->blocksUsed = header_->pinsUsed = 1;  // index 0 means none
  header_->bucketCount = header_->bucketsCommitted = kBucketsAtStart;
  int error = commit(layout_.buckets, kBucketsAtStart * sizeof(uint32_t));
  // Ahead of need: when the file system is full they are what makes room elsewhere.
  if (error == 0 && spills) error = commit(layout_.spillFiles, kSpillFilesMax * sizeof(SpillFile));
  if (error == 0 && spills) error = commit(layout_.blocks, kBlocksAtStart * sizeof(Block));
  if (error == 0 && spills) error = commit(layout_.pins, kPinsPerStep * sizeof(Pin));
  if (error != 0) return error;
  if (spills) {
    header_->spillTableReady = 1;
    header_->blocksCommitted = kBlocksAtStart;
    header_->pinsCommitted = kPinsPerStep;
  }

  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  error = pthread_mutex_init(&header_->mutex, &attributes);
  pthread_mutexattr_destroy(&attributes);
  if (error != 0) return error;

  const uint32_t gap = takeEntry();
  if (gap == 0) return ENOSPC;
  blocks_[gap].offset = 0;
  blocks_[gap].bytes = layout_.capacityBytes;
  publish(&blocks_[gap].state, kFree);
  gaps_.insert(gap);
  __atomic_store_n(&header_->magic, kMagic, __ATOMIC_RELEASE);
  return 0;
}

bool Arena::attach() {
  const uint64_t startTime = readProcess(getpid()).startTime;
  Lock lock(this);
  if (!lock.ok()) return false;
  for (int round = 0; round < 2; round++) {
    for (uint32_t i = 1; i < kAttachmentsMax; i++) {
      if (attachments_[i].pid != 0) continue;
      attachments_[i].startTime = startTime;
      publish(&attachments_[i].pid, static_cast<uint32_t>(getpid()));
      attachment_ = i;
      return true;
    }
    if (!dropDead()) break;
  }
  return false;
}

Arena::Lock::Lock(Arena* arena) : arena_(arena) {
  int error = pthread_mutex_lock(&arena->header_->mutex);
  if (error == EOWNERDEAD) {
    arena->repair();
    error = pthread_mutex_consistent(&arena->header_->mutex);
  }
  ok_ = error == 0;
}

Arena::Lock::~Lock() {
  if (!ok_) return;
  std::vector<DiskWork> work;
  work.swap(arena_->later_);
  pthread_mutex_unlock(&arena_->header_->mutex);
  if (!work.empty()) arena_->doDiskWork(work);
}

// ---------------------------------------------------------------------------------------------- memory behind the file

int Arena::commit(uint64_t fileOffset, uint64_t bytes) const { return reserve(fd_, fileOffset, bytes); }

bool Arena::makePresent(uint64_t offset, uint64_t bytes) {
  const uint64_t last = (offset + bytes - 1) / kSegmentBytes;
  for (uint64_t segment = offset / kSegmentBytes; segment <= last; segment++) {
    if (present_[segment].load(std::memory_order_acquire) != 0) continue;
    uint64_t end = segment + 1;
    while (end <= last && present_[end].load(std::memory_order_acquire) == 0) end++;
    const uint64_t start = segment * kSegmentBytes;
    const uint64_t bytes = std::min(end * kSegmentBytes, layout_.capacityBytes) - start;
    const bool good = inParallel(bytes, kPopulateAloneBytes, kSegmentBytes, [this, start](uint64_t from, uint64_t until) {
      return populate(start + from, until - from);
    });
    if (!good) return false;
    for (; segment < end; segment++) present_[segment].store(1, std::memory_order_release);
  }
  return true;
}

/** Takes the pages from the file system (or fails, where touching them would be a SIGBUS) and maps them in one go. */
bool Arena::populate(uint64_t offset, uint64_t bytes) const {
  int error;
  do {
    error = madvise(data_ + offset, bytes, MADV_POPULATE_WRITE) == 0 ? 0 : errno;
  } while (error == EINTR || error == EAGAIN);
  if (error == EINVAL) error = commit(layout_.data + offset, bytes);  // Linux before 5.14
  return error == 0;
}

bool Arena::prefault(uint64_t offset, uint64_t bytes) {
  if (bytes == 0 || offset >= layout_.capacityBytes) return true;
  return commit(layout_.data + offset, std::min(bytes, layout_.capacityBytes - offset)) == 0;
}

// ---------------------------------------------------------------------------------------------- index of keys

uint32_t* Arena::bucketOf(const uint8_t* key) const {
  uint64_t low, high;
  memcpy(&low, key, 8);
  memcpy(&high, key + 8, 8);
  uint64_t x = low ^ (high * 0x9e3779b97f4a7c15u);
  x ^= x >> 32;
  x *= 0xd6e8feb86659fd93u;
  x ^= x >> 32;
  return &buckets_[x & (header_->bucketCount - 1)];
}

uint32_t Arena::lookup(const uint8_t* key) const {
  uint32_t block = *bucketOf(key);
  while (block != 0 && memcmp(blocks_[block].key, key, kKeyBytes) != 0) block = blocks_[block].hashNext;
  return block;
}

void Arena::indexInsert(uint32_t block) {
  uint32_t* bucket = bucketOf(blocks_[block].key);
  blocks_[block].hashNext = *bucket;
  *bucket = block;
}

void Arena::indexRemove(uint32_t block) {
  uint32_t* at = bucketOf(blocks_[block].key);
  while (*at != 0 && *at != block) at = &blocks_[*at].hashNext;
  if (*at == block) *at = blocks_[block].hashNext;
}

void Arena::indexGrow() {
  const uint32_t wanted = header_->bucketCount * 2;
  if (wanted > layout_.bucketsMax) return;
  if (wanted > header_->bucketsCommitted) {
    if (commit(layout_.buckets, wanted * sizeof(uint32_t)) != 0) return;  // longer chains, nothing worse
    header_->bucketsCommitted = wanted;
  }
  header_->bucketCount = wanted;
  crashPoint();
  indexRebuild();
}

void Arena::indexRebuild() {
  memset(buckets_, 0, header_->bucketCount * sizeof(uint32_t));
  for (uint32_t i = 1; i < header_->blocksUsed; i++) {
    if (blocks_[i].state == kCreating || blocks_[i].state == kSealed) indexInsert(i);
  }
}

// ---------------------------------------------------------------------------------------------- allocation

uint32_t Arena::takeEntry() {
  if (header_->unusedHead != 0) {
    const uint32_t block = header_->unusedHead;
    header_->unusedHead = blocks_[block].next;
    return block;
  }
  const uint32_t block = header_->blocksUsed;
  if (block >= layout_.blocksMax) return 0;
  if (block >= header_->blocksCommitted) {
    const uint64_t from = layout_.blocks + header_->blocksCommitted * sizeof(Block);
    if (commit(from, kBlocksPerStep * sizeof(Block)) != 0) return 0;
    header_->blocksCommitted += kBlocksPerStep;
  }
  header_->blocksUsed = block + 1;
  return block;
}

void Arena::giveEntry(uint32_t block) {
  publish(&blocks_[block].state, kUnused);
  blocks_[block].next = header_->unusedHead;
  header_->unusedHead = block;
}

uint32_t Arena::allocate(const uint8_t* key, uint64_t size, bool secondary) {
  if (size > layout_.capacityBytes) return 0;
  const uint64_t bytes = blockBytes(size);
  bool swept = false;
  for (;;) {
    const uint32_t gap = header_->objects < layout_.objectsMax ? gaps_.firstFit(bytes) : 0;
    const uint32_t entry = gap == 0 ? 0 : takeEntry();
    if (entry != 0) {
      Block& block = blocks_[entry];
      memcpy(block.key, key, kKeyBytes);
      block.size = size;
      block.secondary = secondary ? 1 : 0;
      block.creator = attachment_;
      block.file = block.onDisk = block.spiller = 0;
      block.pins = block.prev = block.next = block.left = block.right = 0;
      carve(gap, entry, bytes);
      return entry;
    }
    if (!makeRoom(bytes, &swept)) return 0;
  }
}

Place Arena::placeOf(uint32_t index) const {
  const Block& block = blocks_[index];
  return {index,      block.generation, block.offset,     block.size, block.onDisk != 0,
          block.file, block.fileOffset, block.crc};
}

void Arena::carve(uint32_t gap, uint32_t block, uint64_t bytes) {
  blocks_[block].offset = blocks_[gap].offset;
  blocks_[block].bytes = bytes;
  crashPoint();
  publish(&blocks_[block].state, kCreating);
  crashPoint();
  gaps_.remove(gap);
  crashPoint();
  if (blocks_[gap].bytes == bytes) {
    giveEntry(gap);
  } else {
    blocks_[gap].offset += bytes;
    blocks_[gap].bytes -= bytes;
    gaps_.insert(gap);
  }
  crashPoint();
  header_->usedBytes += bytes;
  header_->objects++;
  indexInsert(block);
  if (header_->objects + header_->spilledObjects > header_->bucketCount) indexGrow();
  crashPoint();
}

bool Arena::makeRoom(uint64_t bytes, bool* swept) {
  if (!*swept) {
    *swept = true;
    if (dropDead()) return true;
  }
  const uint64_t reachable = layout_.capacityBytes - header_->usedBytes + header_->lruBytes[1];
  if (header_->lruHead[1] == 0 || reachable < bytes) return false;
  header_->evictions++;
  drop(header_->lruHead[1]);
  return true;
}

/** Gives the bytes of an object back; it is in no list and has no pins. */
void Arena::release(uint32_t index) {
  Block& block = blocks_[index];
  __atomic_store_n(&block.generation, block.generation + 1, __ATOMIC_SEQ_CST);
  crashPoint();
  publish(&block.state, kUnused);
  crashPoint();
  if (block.onDisk != 0) {
    header_->spilledBytes -= block.size;
    header_->spilledObjects--;
    dropFromFile(block.file, block.fileOffset, block.size);
    giveEntry(index);
  } else {
    header_->usedBytes -= block.bytes;
    header_->objects--;
    releaseData(index);
  }
  crashPoint();
}

/** Makes a gap of the bytes that an entry in no use names, and of its neighbours. */
void Arena::releaseData(uint32_t entry) {
  Block& block = blocks_[entry];
  const uint32_t low = gaps_.before(block.offset);
  if (low != 0 && blocks_[low].offset + blocks_[low].bytes == block.offset) {
    gaps_.remove(low);
    block.offset = blocks_[low].offset;
    block.bytes += blocks_[low].bytes;
    giveEntry(low);
  }
  crashPoint();
  const uint32_t high = gaps_.after(block.offset);
  if (high != 0 && block.offset + block.bytes == blocks_[high].offset) {
    gaps_.remove(high);
    block.bytes += blocks_[high].bytes;
    giveEntry(high);
  }
  publish(&block.state, kFree);
  crashPoint();
  gaps_.insert(entry);
}

/** Takes an object out of the index, and frees it now or when its last pin goes. */
void Arena::drop(uint32_t index) {
  Block& block = blocks_[index];
  if (leavable(block)) lruRemove(index);
  indexRemove(index);
  crashPoint();
  if (block.pins != 0) {
    publish(&block.state, kDeleting);
  } else {
    release(index);
  }
  crashPoint();
}

// ---------------------------------------------------------------------------------------------- order of leaving

bool Arena::leavable(const Block& block) const {
  return block.state == kSealed && block.pins == 0 && block.onDisk == 0;
}

void Arena::lruAppend(uint32_t index) {
  Block& block = blocks_[index];
  const uint32_t list = block.secondary;
  block.prev = header_->lruTail[list];
  block.next = 0;
  (block.prev != 0 ? blocks_[block.prev].next : header_->lruHead[list]) = index;
  header_->lruTail[list] = index;
  header_->lruBytes[list] += block.bytes;
}

void Arena::lruRemove(uint32_t index) {
  Block& block = blocks_[index];
  const uint32_t list = block.secondary;
  (block.prev != 0 ? blocks_[block.prev].next : header_->lruHead[list]) = block.next;
  (block.next != 0 ? blocks_[block.next].prev : header_->lruTail[list]) = block.prev;
  block.prev = block.next = 0;
  header_->lruBytes[list] -= block.bytes;
}

// ---------------------------------------------------------------------------------------------- objects

Put Arena::create(const uint8_t* key, uint64_t size, bool secondary, Place* out) {
  uint32_t block = 0;
  for (;;) {
    {
      Lock lock(this);
      if (!lock.ok()) return Put::damaged;
      const uint32_t found = lookup(key);
      if (found != 0) {
        // A creator that died without being reclaimed must not hold its key forever.
        const bool abandoned = blocks_[found].state == kCreating && blocks_[found].creator != attachment_ &&
                               !mayBeAlive(static_cast<pid_t>(attachments_[blocks_[found].creator].pid));
        if (!abandoned) return Put::exists;
        drop(found);
      }
      block = allocate(key, size, secondary);
      if (block != 0) *out = placeOf(block);
    }
    if (block != 0) break;
    if (!spillFor(size)) return createOnDisk(key, size, secondary, out);
  }
  std::atomic_thread_fence(std::memory_order_seq_cst);  // generation of the former object before bytes of the new one
  crashPoint();
  if (makePresent(out->offset, blockBytes(size))) return Put::ok;
  {
    Lock lock(this);
    if (!lock.ok()) return Put::damaged;
    drop(block);
  }
  return createOnDisk(key, size, secondary, out);
}

Put Arena::put(const uint8_t* key, uint64_t size, const std::vector<Part>& parts, bool secondary) {
  Place place;
  const Put created = create(key, size, secondary, &place);
  if (created != Put::ok) return created;
  if (place.onDisk) {
    // What nobody writes in a file reads as zeros.
    for (const Part& part : parts) {
      if (writeDisk(place, part.offset, part.bytes, part.length)) continue;
      abort(key);
      return Put::full;
    }
    return seal(key) == Found::ok ? Put::ok : Put::damaged;
  }
  uint8_t* const to = data_ + place.offset;
  uint64_t at = 0;
  for (const Part& part : parts) {
    if (part.length == 0) continue;
    memset(to + at, 0, part.offset - at);
    copyLarge(to + part.offset, part.bytes, part.length);
    at = part.offset + part.length;
  }
  memset(to + at, 0, size - at);
  crashPoint();
  Lock lock(this);
  if (!lock.ok()) return Put::damaged;
  const Block& block = blocks_[place.block];
  if (block.state != kCreating || block.generation != place.generation) return Put::damaged;
  sealBlock(place.block);
  return Put::ok;
}

void Arena::sealBlock(uint32_t block) {
  blocks_[block].lastUse = ++header_->tick;
  crashPoint();
  publish(&blocks_[block].state, kSealed);
  crashPoint();
  if (leavable(blocks_[block])) lruAppend(block);
  crashPoint();
}

/** Of a sealed object: from now on it is spilled and no longer evicted. */
Found Arena::keep(const uint8_t* key) {
  Lock lock(this);
  if (!lock.ok()) return Found::damaged;
  const uint32_t index = lookup(key);
  if (index == 0 || blocks_[index].state != kSealed) return Found::missing;
  Block& block = blocks_[index];
  if (block.secondary == 0) return Found::ok;
  const bool listed = leavable(block);
  if (listed) lruRemove(index);
  crashPoint();
  block.secondary = 0;
  block.lastUse = ++header_->tick;
  crashPoint();
  if (listed) lruAppend(index);
  crashPoint();
  return Found::ok;
}

uint32_t Arena::creatingByMe(const uint8_t* key) const {
  const uint32_t block = lookup(key);
  const bool mine = block != 0 && blocks_[block].state == kCreating && blocks_[block].creator == attachment_;
  return mine ? block : 0;
}

Found Arena::findCreating(const uint8_t* key, Place* out) {
  Lock lock(this);
  if (!lock.ok()) return Found::damaged;
  const uint32_t block = creatingByMe(key);
  if (block == 0) return Found::missing;
  *out = placeOf(block);
  return Found::ok;
}

bool Arena::write(const Place& place, uint64_t offset, const uint8_t* bytes, size_t length) {
  if (place.onDisk) return writeDisk(place, offset, bytes, length);
  if (length != 0) memcpy(data_ + place.offset + offset, bytes, length);
  return true;
}

Found Arena::seal(const uint8_t* key) {
  Place place;
  const Found found = findCreating(key, &place);
  if (found != Found::ok) return found;
  uint32_t crc = 0;
  if (place.onDisk && !crcOnDisk(place, &crc)) {
    abort(key);
    return Found::missing;
  }
  Lock lock(this);
  if (!lock.ok()) return Found::damaged;
  const uint32_t block = creatingByMe(key);
  if (block == 0) return Found::missing;
  blocks_[block].crc = crc;
  sealBlock(block);
  return Found::ok;
}

Found Arena::abort(const uint8_t* key) {
  Lock lock(this);
  if (!lock.ok()) return Found::damaged;
  const uint32_t block = creatingByMe(key);
  if (block == 0) return Found::missing;
  drop(block);
  return Found::ok;
}

void Arena::abortAll() {
  Lock lock(this);
  if (!lock.ok()) return;
  for (uint32_t i = 1; i < header_->blocksUsed; i++) {
    if (blocks_[i].state == kCreating && blocks_[i].creator == attachment_) drop(i);
  }
}

Found Arena::find(const uint8_t* key, bool use, Place* out) {
  Lock lock(this);
  if (!lock.ok()) return Found::damaged;
  const uint32_t index = lookup(key);
  if (index == 0 || blocks_[index].state != kSealed) return Found::missing;
  Block& block = blocks_[index];
  if (use) {
    block.lastUse = ++header_->tick;
    if (leavable(block)) {
      lruRemove(index);
      lruAppend(index);
    }
  }
  *out = placeOf(index);
  return Found::ok;
}

bool Arena::readAt(const Place& place, uint64_t offset, uint8_t* to, size_t length) const {
  if (length != 0) memcpy(to, data_ + place.offset + offset, length);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return __atomic_load_n(&blocks_[place.block].generation, __ATOMIC_ACQUIRE) == place.generation;
}

Found Arena::remove(const uint8_t* key) {
  Lock lock(this);
  if (!lock.ok()) return Found::damaged;
  const uint32_t block = lookup(key);
  if (block == 0 || blocks_[block].state != kSealed) return Found::missing;
  drop(block);
  return Found::ok;
}

bool Arena::removeAll(const uint8_t* prefix, size_t bytes, uint64_t* count) {
  Lock lock(this);
  if (!lock.ok()) return false;
  *count = 0;
  for (uint32_t i = 1; i < header_->blocksUsed; i++) {
    if (blocks_[i].state != kSealed || memcmp(blocks_[i].key, prefix, bytes) != 0) continue;
    drop(i);
    ++*count;
  }
  return true;
}

// ---------------------------------------------------------------------------------------------- pins

Found Arena::pin(const uint8_t* key, uint32_t* pin, Place* out) {
  Lock lock(this);
  if (!lock.ok()) return Found::damaged;
  const uint32_t index = lookup(key);
  if (index == 0 || blocks_[index].state != kSealed) return Found::missing;
  Block& block = blocks_[index];
  block.lastUse = ++header_->tick;
  *out = placeOf(index);
  *pin = pinBlock(index);
  return Found::ok;
}

uint32_t Arena::pinBlock(uint32_t index) {
  Block& block = blocks_[index];
  for (uint32_t i = block.pins; i != 0; i = pins_[i].next) {
    if (pins_[i].attachment != attachment_) continue;
    pins_[i].count++;
    return i;
  }
  uint32_t pin = header_->freePinHead;
  if (pin != 0) {
    header_->freePinHead = pins_[pin].next;
  } else {
    pin = header_->pinsUsed;
    if (pin >= layout_.pinsMax) return 0;
    if (pin >= header_->pinsCommitted) {
      const uint64_t from = layout_.pins + header_->pinsCommitted * sizeof(Pin);
      const uint32_t step = std::min(kPinsPerStep, layout_.pinsMax - header_->pinsCommitted);
      if (commit(from, step * sizeof(Pin)) != 0) return 0;
      header_->pinsCommitted += step;
    }
    header_->pinsUsed = pin + 1;
  }
  if (leavable(block)) lruRemove(index);
  if (block.pins == 0) header_->pinnedObjects++;
  crashPoint();
  pins_[pin].block = index;
  pins_[pin].attachment = attachment_;
  pins_[pin].next = block.pins;
  publish(&pins_[pin].count, 1);
  crashPoint();
  block.pins = pin;
  crashPoint();
  return pin;
}

void Arena::unpin(uint32_t pin, uint32_t block) {
  Lock lock(this);
  if (!lock.ok()) return;
  Pin& held = pins_[pin];
  if (held.count == 0 || held.block != block || held.attachment != attachment_) return;
  publish(&held.count, held.count - 1);
  crashPoint();
  if (held.count == 0) forgetPin(pin);
}

/** Takes a pin whose count has become 0 off its block, which may then be free to go. */
void Arena::forgetPin(uint32_t pin) {
  const uint32_t index = pins_[pin].block;
  Block& block = blocks_[index];
  uint32_t* at = &block.pins;
  while (*at != 0 && *at != pin) at = &pins_[*at].next;
  if (*at == pin) *at = pins_[pin].next;
  crashPoint();
  pins_[pin].next = header_->freePinHead;
  header_->freePinHead = pin;
  if (block.pins != 0) return;
  header_->pinnedObjects--;
  crashPoint();
  if (block.state == kDeleting) {
    release(index);
  } else if (leavable(block)) {
    lruAppend(index);
  }
  crashPoint();
}

uint8_t* Arena::mapPrivate(const Place& place, void** map, size_t* mapBytes) const {
  static const uint64_t pageBytes = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const int fd = place.onDisk ? openSpillFile(place.file, O_RDONLY) : fd_;
  if (fd < 0) return nullptr;
  const uint64_t start = place.onDisk ? place.fileOffset : layout_.data + place.offset;
  const uint64_t skip = start % pageBytes;
  *mapBytes = Layout::up(skip + place.size, pageBytes);
  *map = mmap(nullptr, *mapBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd,
              static_cast<off_t>(start - skip));
  if (place.onDisk) close(fd);
  return *map == MAP_FAILED ? nullptr : static_cast<uint8_t*>(*map) + skip;
}

// ---------------------------------------------------------------------------------------------- the dead

/** Frees what an attachment holds; the attachment itself stays. */
void Arena::dropAttachment(uint32_t attachment) {
  for (uint32_t i = 1; i < header_->blocksUsed; i++) {
    if (blocks_[i].state == kCreating && blocks_[i].creator == attachment) drop(i);
    if (isObject(blocks_[i].state) && blocks_[i].spiller == attachment) stopSpilling(i);
  }
  for (uint32_t i = 1; header_->spillTableReady != 0 && i < kSpillFilesMax; i++) {
    if (spillFiles_[i].state != kFileLeaving || spillFiles_[i].remover != attachment) continue;
    spillFiles_[i].remover = attachment_;
    later_.push_back({-1, i, 0, 0});
  }
  for (uint32_t i = 1; i < header_->pinsUsed; i++) {
    if (pins_[i].count == 0 || pins_[i].attachment != attachment) continue;
    publish(&pins_[i].count, 0);
    crashPoint();
    forgetPin(i);
  }
}

/** Drops every attachment whose pid is gone. True when there was one. */
bool Arena::dropDead() {
  bool any = false;
  for (uint32_t i = 1; i < kAttachmentsMax; i++) {
    const uint32_t pid = attachments_[i].pid;
    if (pid == 0 || mayBeAlive(static_cast<pid_t>(pid))) continue;
    dropAttachment(i);
    publish(&attachments_[i].pid, 0);
    any = true;
  }
  return any;
}

bool Arena::reclaim(pid_t pid, bool* damaged) {
  Lock lock(this);
  *damaged = !lock.ok();
  if (*damaged) return false;
  const ProcessState now = readProcess(pid);
  bool running = false;
  for (uint32_t i = 1; i < kAttachmentsMax; i++) {
    if (attachments_[i].pid != static_cast<uint32_t>(pid)) continue;
    const uint64_t then = attachments_[i].startTime;
    const bool ended = now.ended || (now.startTime != 0 && then != 0 && now.startTime != then);
    if (!ended) {
      running = true;
      continue;
    }
    dropAttachment(i);
    publish(&attachments_[i].pid, 0);
  }
  return !running;
}

// ---------------------------------------------------------------------------------------------- looking

bool Arena::stats(Stats* out) {
  Lock lock(this);
  if (!lock.ok()) return false;
  *out = {layout_.capacityBytes,   header_->usedBytes,      header_->lruBytes[1], header_->objects,
          header_->pinnedObjects,  header_->evictions,      header_->spilledBytes, header_->spilledObjects,
          header_->spillFiles,     header_->spilledBytesTotal, header_->readBackBytesTotal,
          header_->damagedObjects, header_->spillErrno};
  return true;
}

bool Arena::list(size_t limit, std::vector<Listed>* out) {
  Lock lock(this);
  if (!lock.ok()) return false;
  out->reserve(std::min<size_t>(limit, header_->objects));
  for (uint32_t i = 1; i < header_->blocksUsed && out->size() < limit; i++) {
    const Block& block = blocks_[i];
    if (!isObject(block.state)) continue;
    Listed listed{{}, block.size, block.state, block.secondary != 0, block.onDisk != 0, 0};
    memcpy(listed.key, block.key, kKeyBytes);
    for (uint32_t p = block.pins; p != 0; p = pins_[p].next) listed.pins += pins_[p].count;
    out->push_back(listed);
  }
  return true;
}

}  // namespace tsray
