// Moving many bytes: copies by several threads while cores are idle, and the checksum of what goes to disk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace tsray {

/** memcpy; from 8 MiB on by one thread more per idle core, at most four in all. */
void copyLarge(uint8_t* to, const uint8_t* from, size_t length);

/**
 * Cuts [0, length) into one range per idle core (at least `leastBytes` long, cut at multiples of `step`) and calls
 * `work(from, until)` for each, one of them on this thread. True when all returned true.
 */
bool inParallel(uint64_t length, uint64_t leastBytes, uint64_t step,
                const std::function<bool(uint64_t, uint64_t)>& work);

/** CRC-32C (Castagnoli), continued from `crc` (0 at the start). */
uint32_t crc32c(uint32_t crc, const uint8_t* bytes, size_t length);

}  // namespace tsray
