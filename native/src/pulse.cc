#include "pulse.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

#include "process.h"

namespace tsray {

namespace {

constexpr uint64_t kLookMs = 250;
/** A thread that comes this much too late did not run: stopped with its process, or with the machine. */
constexpr uint64_t kLateMsMin = 1000;
constexpr size_t kStackBytes = 256 * 1024;

struct Watch {
  const uint64_t* beats;
  uint64_t silentMsMax;
};

/** Does not run while the machine is suspended, and neither does who is watched. */
uint64_t monotonicMs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1000000;
}

void sleepMs(uint64_t ms) {
  const timespec pause = {static_cast<time_t>(ms / 1000), static_cast<long>(ms % 1000) * 1000000};
  clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, nullptr);
}

void* watch(void* argument) {
  const Watch* watched = static_cast<Watch*>(argument);
  const uint64_t lateMs = std::max(kLateMsMin, watched->silentMsMax / 4);
  uint64_t seen = __atomic_load_n(watched->beats, __ATOMIC_RELAXED);
  uint64_t seenMs = monotonicMs(), lookedMs = seenMs;
  for (;;) {
    sleepMs(kLookMs);
    const uint64_t beats = __atomic_load_n(watched->beats, __ATOMIC_RELAXED);
    const uint64_t nowMs = monotonicMs();
    // Whoever did not run cannot say that the other did not: what stood still with it gets its whole time again.
    if (beats != seen || nowMs - lookedMs > kLookMs + lateMs) {
      seen = beats;
      seenMs = nowMs;
    } else if (nowMs - seenMs > watched->silentMsMax) {
      kill(-getpid(), SIGKILL);
      kill(getpid(), SIGKILL);
    }
    lookedMs = nowMs;
  }
}

}  // namespace

bool watchPulse(int fd, uint64_t silentMsMax, int* error) {
  void* page = mapShared(fd, kPulseBytes, error);
  if (page == nullptr) return false;
  // Neither is ever given back: the thread ends with the process.
  Watch* watched = new Watch{static_cast<const uint64_t*>(page), silentMsMax};
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  sigset_t all, before;
  sigfillset(&all);
  // Handlers run on the threads that Node expects them on.
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  *error = pthread_create(&thread, &attributes, watch, watched);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  return *error == 0;
}

double bootMs() {
  timespec now;
  clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

}  // namespace tsray
