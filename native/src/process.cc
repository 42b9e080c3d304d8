#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

bool setParentDeathSignal(int signal, pid_t expectedParent, int* error) {
  *error = prctl(PR_SET_PDEATHSIG, signal) == 0 ? 0 : errno;
  return *error == 0 && getppid() == expectedParent;
}

}  // namespace tsray
