#include "copy.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

namespace tsray {

namespace {

constexpr size_t kCopyAloneBytes = 8 * 1024 * 1024;
constexpr unsigned kHelpersMax = 3;

/** Cores that nobody uses at this moment: those this process may run on, less the tasks that are running. */
unsigned idleCores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 0;
  const int fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  char text[128];
  const ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  text[n > 0 ? n : 0] = '\0';
  unsigned running = 0;
  if (sscanf(text, "%*f %*f %*f %u/", &running) != 1) return 0;
  const unsigned cores = static_cast<unsigned>(CPU_COUNT(&set));
  return cores > running ? cores - running : 0;
}

/** What one helper does of inParallel's work. */
struct Share {
  const std::function<bool(uint64_t, uint64_t)>* work;
  uint64_t from, until;
  pthread_t thread{};
  bool running = false;
  bool good = false;
};

void* runShare(void* argument) {
  Share* share = static_cast<Share*>(argument);
  share->good = (*share->work)(share->from, share->until);
  return nullptr;
}

struct Crc32cTables {
  uint32_t of[8][256];

  Crc32cTables() {
    for (uint32_t i = 0; i < 256; i++) {
      uint32_t crc = i;
      for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (0x82f63b78u & (0u - (crc & 1)));
      of[0][i] = crc;
    }
    for (int t = 1; t < 8; t++) {
      for (uint32_t i = 0; i < 256; i++) of[t][i] = (of[t - 1][i] >> 8) ^ of[0][of[t - 1][i] & 0xff];
    }
  }
};

uint32_t crc32cByTable(uint32_t crc, const uint8_t* bytes, size_t length) {
  static const Crc32cTables tables;
  const auto& of = tables.of;
  for (; length >= 8; bytes += 8, length -= 8) {
    uint32_t low, high;
    memcpy(&low, bytes, 4);
    memcpy(&high, bytes + 4, 4);
    low ^= crc;
    crc = of[7][low & 0xff] ^ of[6][(low >> 8) & 0xff] ^ of[5][(low >> 16) & 0xff] ^ of[4][low >> 24] ^
          of[3][high & 0xff] ^ of[2][(high >> 8) & 0xff] ^ of[1][(high >> 16) & 0xff] ^ of[0][high >> 24];
  }
  for (; length > 0; bytes++, length--) crc = (crc >> 8) ^ of[0][(crc ^ *bytes) & 0xff];
  return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t crc32cByProcessor(uint32_t crc, const uint8_t* bytes, size_t length) {
  uint64_t wide = crc;
  for (; length >= 8; bytes += 8, length -= 8) {
    uint64_t word;
    memcpy(&word, bytes, 8);
    wide = __builtin_ia32_crc32di(wide, word);
  }
  crc = static_cast<uint32_t>(wide);
  for (; length > 0; bytes++, length--) crc = __builtin_ia32_crc32qi(crc, *bytes);
  return crc;
}
#endif

}  // namespace

bool inParallel(uint64_t length, uint64_t leastBytes, uint64_t step,
                const std::function<bool(uint64_t, uint64_t)>& work) {
  const uint64_t pieces = length < 2 * leastBytes ? 1 : 1 + std::min(idleCores(), kHelpersMax);
  const uint64_t count = std::min(pieces, std::max<uint64_t>(1, length / leastBytes));
  const uint64_t each = (length / count + step - 1) / step * step;
  std::vector<Share> shares;
  uint64_t from = 0;
  for (uint64_t i = 1; i < count && from + each < length; i++, from += each) shares.push_back({&work, from, from + each});
  for (Share& share : shares) share.running = pthread_create(&share.thread, nullptr, runShare, &share) == 0;
  bool good = work(from, length);
  for (Share& share : shares) {
    if (share.running) {
      pthread_join(share.thread, nullptr);
    } else {
      runShare(&share);  // no thread was to be had
    }
    good = good && share.good;
  }
  return good;
}

void copyLarge(uint8_t* to, const uint8_t* from, size_t length) {
  if (length < kCopyAloneBytes) {
    memcpy(to, from, length);
    return;
  }
  inParallel(length, kCopyAloneBytes / 2, 4096, [to, from](uint64_t start, uint64_t until) {
    memcpy(to + start, from + start, until - start);
    return true;
  });
}

uint32_t crc32c(uint32_t crc, const uint8_t* bytes, size_t length) {
#if defined(__x86_64__)
  static const bool fast = __builtin_cpu_supports("sse4.2") != 0;
  if (fast) return ~crc32cByProcessor(~crc, bytes, length);
#endif
  return ~crc32cByTable(~crc, bytes, length);
}

}  // namespace tsray
