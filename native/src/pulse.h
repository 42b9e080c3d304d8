// Who stood still: a thread that ends this process, with its group, when a page that another process keeps changing does
// so, and the clock that runs on while the machine sleeps.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tsray {

/** What the page begins with: whoever must be seen to move counts it up. */
constexpr size_t kPulseBytes = 8;

/**
 * Watches the open file from a thread of its own, for as long as this process lives, so also while its main thread is
 * stuck. False and `error`: the file cannot be mapped, or the thread not be started.
 */
bool watchPulse(int fd, uint64_t silentMsMax, int* error);

/** Milliseconds since boot, those in which the machine was suspended included. */
double bootMs();

}  // namespace tsray
