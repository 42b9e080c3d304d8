// What the arena asks about processes, and the one thing a child asks about its parent.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

namespace tsray {

/** Start time of a process in clock ticks since boot (0: unknown), and whether it has ended (gone or a zombie). */
struct ProcessState {
  bool ended;
  uint64_t startTime;
};

ProcessState readProcess(pid_t pid);

/** False once the pid is gone. One system call; a zombie and a reused pid still count as alive. */
bool mayBeAlive(pid_t pid);

/**
 * Whether this process has written to a part of a private mapping of a file: such pages are its own from then on. Also
 * true where the kernel does not tell.
 */
bool isWritten(const void* bytes, size_t length);

/** A file mapped for reading and writing together with whoever else maps it; nullptr and `error` where that cannot be. */
void* mapShared(int fd, size_t bytes, int* error);

/** Asks the kernel to send `signal` when the parent thread ends. False: the parent had already ended. */
bool setParentDeathSignal(int signal, pid_t expectedParent, int* error);

}  // namespace tsray
