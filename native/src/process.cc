#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

namespace tsray {

ProcessState readProcess(pid_t pid) {
  if (!mayBeAlive(pid)) return {true, 0};
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/stat", static_cast<int>(pid));
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {!mayBeAlive(pid), 0};
  char text[1024];
  const ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  if (n <= 0) return {!mayBeAlive(pid), 0};
  text[n] = '\0';
  // "pid (name) state ppid ...": the name may hold blanks and brackets, so count from its last bracket.
  const char* at = strrchr(text, ')');
  if (at == nullptr || at[1] == '\0') return {false, 0};
  at += 2;
  const char state = *at;
  for (int field = 3; field < 22 && at != nullptr; field++) {
    at = strchr(at, ' ');
    if (at != nullptr) at++;
  }
  return {state == 'Z' || state == 'X', at == nullptr ? 0 : strtoull(at, nullptr, 10)};
}

bool mayBeAlive(pid_t pid) { return kill(pid, 0) == 0 || errno != ESRCH; }

bool isWritten(const void* bytes, size_t length) {
  // Documentation/admin-guide/mm/pagemap.rst: bit 61 page of a file (or shared), 62 swapped, 63 present.
  constexpr uint64_t kOfFile = uint64_t{1} << 61, kSwapped = uint64_t{1} << 62, kPresent = uint64_t{1} << 63;
  const int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return true;
  const uint64_t pageBytes = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t first = reinterpret_cast<uintptr_t>(bytes) / pageBytes;
  const uint64_t last = (reinterpret_cast<uintptr_t>(bytes) + length - 1) / pageBytes;
  uint64_t entries[4096];
  bool written = false;
  for (uint64_t page = first; page <= last && !written;) {
    const size_t wanted = sizeof entries / 8 < last - page + 1 ? sizeof entries / 8 : last - page + 1;
    const ssize_t n = pread(fd, entries, wanted * 8, static_cast<off_t>(page * 8));
    if (n < 8) written = true;
    for (ssize_t i = 0; i < n / 8; i++) {
      if ((entries[i] & kSwapped) != 0 || ((entries[i] & kPresent) != 0 && (entries[i] & kOfFile) == 0)) written = true;
    }
    if (n >= 8) page += static_cast<uint64_t>(n / 8);
  }
  close(fd);
  return written;
}

void* mapShared(int fd, size_t bytes, int* error) {
  void* map = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  *error = map == MAP_FAILED ? errno : 0;
  return map == MAP_FAILED ? nullptr : map;
}

bool setParentDeathSignal(int signal, pid_t expectedParent, int* error) {
  *error = prctl(PR_SET_PDEATHSIG, signal) == 0 ? 0 : errno;
  return *error == 0 && getppid() == expectedParent;
}

}  // namespace tsray
