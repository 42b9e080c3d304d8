// Objects on disk: writing primary copies out when memory is short, making objects there that fit nowhere else, and
// giving the room in the files back. An object on disk is read by mapping its file, so nothing is ever read back ahead
// of use: the kernel's page cache does that, and lets go of it under pressure.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "arena.h"
#include "copy.h"

namespace tsray {

namespace {

/** A file takes objects until it is this long; then the next one begins. */
constexpr uint64_t kSpillFileBytes = 100 * 1024 * 1024;
constexpr size_t kVictimsMax = 2000;
/** Written out at a time, at most, beyond what is wanted: whoever waits for room should not wait for more. */
constexpr uint64_t kSpillStepBytes = 16 * 1024 * 1024;
constexpr uint64_t kReadStepBytes = 1024 * 1024;
/** Ranges below this are given back with their file. */
constexpr uint64_t kPunchBytesMin = 64 * 1024;
/** The disk is left with this share, or this much, of its room. */
constexpr uint64_t kDiskShareLeft = 20;
constexpr uint64_t kDiskBytesLeft = 1024 * 1024 * 1024;
/** So long is waited for room that other processes are making. */
constexpr int kWaitsMax = 4000;
constexpr long kWaitNanos = 500 * 1000;

uint64_t onDiskBytes(uint64_t size) { return Layout::up(size == 0 ? 1 : size, kPageBytes); }

bool transferAll(uint64_t length, const std::function<ssize_t(uint64_t done, size_t left)>& step) {
  for (uint64_t done = 0; done < length;) {
    const ssize_t n = step(done, static_cast<size_t>(std::min<uint64_t>(length - done, 1u << 30)));
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) errno = EIO;  // the file is shorter than it was
    if (n <= 0) return false;
    done += static_cast<uint64_t>(n);
  }
  return true;
}

}  // namespace

// ---------------------------------------------------------------------------------------------- files

void Arena::spillPath(uint32_t file, char* out, size_t bytes) const {
  snprintf(out, bytes, "%s/%u.spill", header_->spillDir, file);
}

int Arena::openSpillFile(uint32_t file, int flags) const {
  char path[kSpillDirBytesMax + 32];
  spillPath(file, path, sizeof path);
  return ::open(path, flags | O_NOFOLLOW | O_CLOEXEC, 0600);
}

bool Arena::diskHasRoom(uint64_t bytes) {
  struct statvfs info;
  int error = 0;
  if (statvfs(header_->spillDir, &info) != 0) {
    error = errno;
  } else {
    const uint64_t total = static_cast<uint64_t>(info.f_blocks) * info.f_frsize;
    const uint64_t left = static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
    const uint64_t kept = std::min(total / kDiskShareLeft, kDiskBytesLeft);
    if (left < kept || left - kept < bytes) error = ENOSPC;
  }
  __atomic_store_n(&header_->spillErrno, error, __ATOMIC_RELAXED);
  return error == 0;
}

/** Takes room for one object in the file that is being filled. Called with the mutex held. */
bool Arena::reserveOnDisk(uint64_t size, uint32_t* file, uint64_t* fileOffset) {
  if (header_->spillFile == 0 || header_->spillEnd >= kSpillFileBytes) {
    uint32_t next = 1;
    while (next < kSpillFilesMax && spillFiles_[next].state != kNoFile) next++;
    if (next == kSpillFilesMax) return false;
    // Ours to unlink until it is in use: whoever dies here leaves no file that nobody knows of.
    spillFiles_[next].remover = attachment_;
    publish(&spillFiles_[next].state, kFileLeaving);
    const int fd = openSpillFile(next, O_WRONLY | O_CREAT | O_TRUNC);
    if (fd < 0) {
      header_->spillErrno = errno;
      publish(&spillFiles_[next].state, kNoFile);
      return false;
    }
    close(fd);
    crashPoint();
    spillFiles_[next].objects = 0;
    publish(&spillFiles_[next].state, kFileInUse);
    header_->spillFiles++;
    header_->spillFile = next;
    header_->spillEnd = 0;
  }
  *file = header_->spillFile;
  *fileOffset = header_->spillEnd;
  header_->spillEnd += onDiskBytes(size);
  spillFiles_[*file].objects++;
  return true;
}

/** Gives the room of one object back; the disk gets it when the mutex is free. */
void Arena::dropFromFile(uint32_t file, uint64_t fileOffset, uint64_t size) {
  SpillFile& held = spillFiles_[file];
  if (--held.objects == 0) {
    if (file == header_->spillFile) header_->spillFile = 0;
    held.remover = attachment_;
    publish(&held.state, kFileLeaving);
    header_->spillFiles--;
    later_.push_back({-1, file, 0, 0});
  } else if (size >= kPunchBytesMin) {
    // Opened while the file is certainly this one.
    const int fd = openSpillFile(file, O_WRONLY);
    if (fd >= 0) later_.push_back({fd, file, fileOffset, onDiskBytes(size)});
  }
}

void Arena::doDiskWork(const std::vector<DiskWork>& work) {
  for (const DiskWork& each : work) {
    if (each.fd >= 0) {
      fallocate(each.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(each.offset),
                static_cast<off_t>(each.bytes));
      close(each.fd);
      continue;
    }
    char path[kSpillDirBytesMax + 32];
    spillPath(each.file, path, sizeof path);
    unlink(path);
    crashPoint();
    Lock lock(this);
    if (lock.ok() && spillFiles_[each.file].state == kFileLeaving) publish(&spillFiles_[each.file].state, kNoFile);
  }
}

// ---------------------------------------------------------------------------------------------- bytes

bool Arena::writeDisk(const Place& place, uint64_t offset, const uint8_t* bytes, size_t length) const {
  const int fd = openSpillFile(place.file, O_WRONLY);
  bool good = fd >= 0;
  if (good) {
    good = transferAll(length, [&](uint64_t done, size_t left) {
      return pwrite(fd, bytes + done, left, static_cast<off_t>(place.fileOffset + offset + done));
    });
    const int error = errno;
    close(fd);
    errno = error;
  }
  if (!good) __atomic_store_n(&header_->spillErrno, errno, __ATOMIC_RELAXED);
  return good;
}

bool Arena::readDisk(const Place& place, uint64_t offset, uint8_t* to, size_t length) const {
  const int fd = openSpillFile(place.file, O_RDONLY);
  if (fd < 0) return false;
  const bool good = transferAll(length, [&](uint64_t done, size_t left) {
    return pread(fd, to + done, left, static_cast<off_t>(place.fileOffset + offset + done));
  });
  close(fd);
  return good;
}

bool Arena::crcOnDisk(const Place& place, uint32_t* crc) const {
  std::vector<uint8_t> piece(std::min(place.size, kReadStepBytes));
  *crc = 0;
  for (uint64_t at = 0; at < place.size; at += piece.size()) {
    const size_t length = std::min<uint64_t>(piece.size(), place.size - at);
    if (!readDisk(place, at, piece.data(), length)) return false;
    *crc = crc32c(*crc, piece.data(), length);
  }
  return true;
}

bool Arena::checkReadBack(const uint8_t* key, const Place& place, const uint8_t* bytes) {
  __atomic_fetch_add(&header_->readBackBytesTotal, place.size, __ATOMIC_RELAXED);
  if (crc32c(0, bytes, place.size) == place.crc) return true;
  __atomic_fetch_add(&header_->damagedObjects, 1, __ATOMIC_RELAXED);
  remove(key);
  return false;
}

// ---------------------------------------------------------------------------------------------- writing out

uint64_t Arena::spillStep() const { return std::min(layout_.capacityBytes / 16, kSpillStepBytes); }

/** Pins the primary copies that were used longest ago and reserves room for them, until they are `wanted` bytes. */
void Arena::pickVictims(uint64_t wanted, std::vector<Victim>* out) {
  for (uint64_t bytes = 0; bytes < wanted && out->size() < kVictimsMax && header_->lruHead[0] != 0;) {
    const uint32_t index = header_->lruHead[0];
    Block& block = blocks_[index];
    Victim victim{index, 0, block.offset, block.size, 0, 0, 0, false};
    if (!reserveOnDisk(block.size, &victim.file, &victim.fileOffset)) return;
    victim.pin = pinBlock(index);
    if (victim.pin == 0) {
      dropFromFile(victim.file, victim.fileOffset, block.size);
      return;
    }
    block.fileOffset = victim.fileOffset;
    block.file = victim.file;
    crashPoint();
    publish(&block.spiller, attachment_);
    crashPoint();
    header_->spilling++;
    bytes += block.bytes;
    out->push_back(victim);
  }
}

void Arena::writeVictims(std::vector<Victim>* victims) {
  for (Victim& victim : *victims) {
    const uint8_t* bytes = data_ + victim.offset;
    victim.crc = crc32c(0, bytes, victim.size);
    Place place{};
    place.file = victim.file;
    place.fileOffset = victim.fileOffset;
    victim.written = writeDisk(place, 0, bytes, victim.size);
    crashPoint();
    if (!victim.written) return;
  }
}

/** What has been written, and is still wanted and not being read, lies on disk from now on. */
void Arena::publishVictims(const std::vector<Victim>& victims) {
  Lock lock(this);
  if (!lock.ok()) return;
  for (const Victim& victim : victims) {
    Block& block = blocks_[victim.block];
    const Pin& pin = pins_[victim.pin];
    const bool alone = block.pins == victim.pin && pin.next == 0 && pin.count == 1;
    const uint32_t gap = victim.written && block.state == kSealed && alone ? takeEntry() : 0;
    if (gap == 0) {
      stopSpilling(victim.block);
    } else {
      blocks_[gap].offset = block.offset;
      blocks_[gap].bytes = block.bytes;
      block.crc = victim.crc;
      __atomic_store_n(&block.generation, block.generation + 1, __ATOMIC_SEQ_CST);
      crashPoint();
      publish(&block.onDisk, 1);
      crashPoint();
      block.spiller = 0;
      header_->spilling--;
      header_->usedBytes -= block.bytes;
      header_->objects--;
      header_->spilledBytes += block.size;
      header_->spilledObjects++;
      header_->spilledBytesTotal += block.size;
      releaseData(gap);
    }
    publish(&pins_[victim.pin].count, pin.count - 1);
    crashPoint();
    if (pin.count == 0) forgetPin(victim.pin);
  }
}

void Arena::stopSpilling(uint32_t index) {
  Block& block = blocks_[index];
  if (block.spiller == 0) return;
  publish(&block.spiller, 0);
  header_->spilling--;
  dropFromFile(block.file, block.fileOffset, block.size);
  block.file = 0;
}

/** Makes room in memory for an object. False: there is none to be made, and waiting would not help. */
bool Arena::spillFor(uint64_t size) {
  const uint64_t bytes = Layout::up(size == 0 ? 1 : size, kAlignBytes);
  if (!spills() || bytes > layout_.capacityBytes || !diskHasRoom(bytes)) return false;
  for (int waits = 0; waits < kWaitsMax; waits++) {
    std::vector<Victim> victims;
    bool othersSpill = false;
    {
      Lock lock(this);
      if (!lock.ok()) return false;
      const uint64_t free = layout_.capacityBytes - header_->usedBytes + header_->lruBytes[1];
      if (waits > 0 && free >= bytes) return true;
      if (free + header_->lruBytes[0] >= bytes) {
        const uint64_t lacking = bytes > free ? bytes - free : 1;
        pickVictims(std::max(lacking, spillStep()), &victims);
      }
      if (waits % 128 == 127) dropDead();
      othersSpill = header_->spilling > victims.size();
    }
    if (!victims.empty()) {
      writeVictims(&victims);
      publishVictims(victims);
      return victims.front().written;
    }
    if (!othersSpill) return false;
    const struct timespec pause = {0, kWaitNanos};
    nanosleep(&pause, nullptr);
  }
  return false;
}

bool Arena::spillDownTo(uint64_t usedBytes) {
  while (spills() && diskHasRoom(spillStep())) {
    std::vector<Victim> victims;
    {
      Lock lock(this);
      if (!lock.ok()) return false;
      const uint64_t lasting = header_->usedBytes - header_->lruBytes[1];
      if (lasting <= usedBytes) return true;
      pickVictims(std::min(lasting - usedBytes, spillStep()), &victims);
    }
    if (victims.empty()) return false;
    writeVictims(&victims);
    publishVictims(victims);
    if (!victims.front().written) return false;
  }
  return false;
}

// ---------------------------------------------------------------------------------------------- made on disk

/** For what memory cannot take: larger than the store, or all of it is pinned. */
Put Arena::createOnDisk(const uint8_t* key, uint64_t size, bool secondary, Place* out) {
  if (!spills() || !diskHasRoom(size)) return Put::full;
  uint32_t index;
  {
    Lock lock(this);
    if (!lock.ok()) return Put::damaged;
    if (lookup(key) != 0) return Put::exists;
    index = takeEntry();
    if (index == 0) return Put::full;
    Block& block = blocks_[index];
    if (!reserveOnDisk(size, &block.file, &block.fileOffset)) {
      giveEntry(index);
      return Put::full;
    }
    memcpy(block.key, key, kKeyBytes);
    block.offset = block.bytes = 0;
    block.size = size;
    block.secondary = secondary ? 1 : 0;
    block.creator = attachment_;
    block.spiller = 0;
    block.onDisk = 1;
    block.pins = block.prev = block.next = block.left = block.right = 0;
    crashPoint();
    publish(&block.state, kCreating);
    crashPoint();
    header_->spilledBytes += size;
    header_->spilledObjects++;
    header_->spilledBytesTotal += size;
    indexInsert(index);
    if (header_->objects + header_->spilledObjects > header_->bucketCount) indexGrow();
    *out = placeOf(index);
  }
  // Blocks of its own, and the length that a mapping needs.
  const int fd = openSpillFile(out->file, O_WRONLY);
  int error = fd < 0 ? errno
                     : posix_fallocate(fd, static_cast<off_t>(out->fileOffset), static_cast<off_t>(onDiskBytes(size)));
  if (fd >= 0) close(fd);
  if (error == 0) return Put::ok;
  Lock lock(this);
  if (!lock.ok()) return Put::damaged;
  header_->spillErrno = error;
  drop(index);
  return Put::full;
}

}  // namespace tsray
