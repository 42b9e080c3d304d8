// Processes that hold pins, half-made objects and spills of an arena are killed again and again; afterwards not a byte
// of it may be missing. Run by src/core/store/kill-cycles.test.ts and, for longer, by `npm run soak:store`.
//   kill_cycles ARENA SPILL_DIR CYCLES SEED
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../src/arena.h"

using tsray::Arena;
using tsray::Found;
using tsray::Part;
using tsray::Place;
using tsray::Put;
using tsray::Stats;

namespace {

constexpr uint64_t kCapacityBytes = 4 * 1024 * 1024;
constexpr uint32_t kKeptObjects = 8;
constexpr size_t kKeptBytes = 200 * 1000;

uint64_t random64(uint64_t* state) {
  *state += 0x9e3779b97f4a7c15u;
  uint64_t x = *state;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

void keyOf(uint8_t* key, uint32_t kind, uint32_t number) {
  memset(key, 0, tsray::kKeyBytes);
  memcpy(key, &kind, 4);
  memcpy(key + 4, &number, 4);
}

/** What a child does until it is killed. */
[[noreturn]] void hold(const char* path, uint64_t seed, int ready) {
  std::shared_ptr<Arena> arena;
  if (Arena::open(path, &arena) != 0) _exit(3);
  static uint8_t bytes[300 * 1000];
  uint8_t key[tsray::kKeyBytes];
  uint32_t pin;
  Place place;
  const char told = 'r';
  bool hasTold = false;
  for (;;) {
    switch (random64(&seed) % 6) {
      case 0:  // a pin that nobody gives back
        keyOf(key, 1, static_cast<uint32_t>(random64(&seed) % kKeptObjects));
        arena->pin(key, &pin, &place);
        break;
      case 1:  // an object that nobody finishes
        keyOf(key, 2, static_cast<uint32_t>(random64(&seed) % 64));
        arena->create(key, random64(&seed) % sizeof bytes, random64(&seed) % 2 == 0, &place);
        break;
      case 2:
        keyOf(key, 3, static_cast<uint32_t>(random64(&seed) % 16));
        arena->put(key, sizeof bytes, {Part{0, bytes, sizeof bytes}}, random64(&seed) % 2 == 0);
        break;
      case 3:
        keyOf(key, 3, static_cast<uint32_t>(random64(&seed) % 16));
        arena->remove(key);
        break;
      case 4:
        keyOf(key, 3, static_cast<uint32_t>(random64(&seed) % 16));
        arena->keep(key);
        break;
      default:
        arena->spillDownTo(kCapacityBytes / 4);
    }
    if (!hasTold && write(ready, &told, 1) == 1) hasTold = true;
  }
}

int fail(const char* what, const std::string& why) {
  fprintf(stderr, "%s: %s\n", what, why.c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return fail("usage", "kill_cycles ARENA SPILL_DIR CYCLES SEED");
  const char* const path = argv[1];
  const long cycles = atol(argv[3]);
  uint64_t seed = strtoull(argv[4], nullptr, 10);
  std::shared_ptr<Arena> arena;
  if (Arena::create(path, kCapacityBytes, argv[2], &arena) != 0) return fail("create", path);
  std::vector<uint8_t> kept(kKeptBytes, 7);
  uint8_t key[tsray::kKeyBytes];
  for (uint32_t i = 0; i < kKeptObjects; i++) {
    keyOf(key, 1, i);
    if (arena->put(key, kept.size(), {Part{0, kept.data(), kept.size()}}, false) != Put::ok) return fail("put", "kept");
  }
  for (long cycle = 0; cycle < cycles; cycle++) {
    int ends[2];
    if (pipe(ends) != 0) return fail("pipe", strerror(errno));
    const uint64_t childSeed = random64(&seed);
    const pid_t child = fork();
    if (child < 0) return fail("fork", strerror(errno));
    if (child == 0) hold(path, childSeed, ends[1]);
    close(ends[1]);
    char told;
    if (read(ends[0], &told, 1) != 1) return fail("child", "it ended before it was killed");
    close(ends[0]);
    usleep(static_cast<useconds_t>(random64(&seed) % 300));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    bool damaged = false;
    if (!arena->reclaim(child, &damaged) || damaged) return fail("reclaim", std::to_string(cycle));
    if (cycle % 50 == 0 || cycle == cycles - 1) {
      const std::string broken = arena->check();
      if (!broken.empty()) return fail("check", broken + " after cycle " + std::to_string(cycle));
    }
  }
  for (uint32_t i = 0; i < 16; i++) {
    keyOf(key, 3, i);
    arena->remove(key);
  }
  for (uint32_t i = 0; i < kKeptObjects; i++) {
    keyOf(key, 1, i);
    Place place;
    uint32_t pin;
    if (arena->pin(key, &pin, &place) != Found::ok) return fail("kept", "an object is lost");
    std::vector<uint8_t> back(place.size);
    const bool read = place.onDisk ? arena->readDisk(place, 0, back.data(), back.size())
                                   : arena->readAt(place, 0, back.data(), back.size());
    if (!read || back != kept) return fail("kept", "an object has changed");
    arena->unpin(pin, place.block);
    arena->remove(key);
  }
  Stats stats;
  if (!arena->stats(&stats)) return fail("stats", "damaged");
  printf("%ld cycles: %lu bytes in memory, %lu objects, %lu pinned, %lu on disk in %lu files\n", cycles, stats.usedBytes,
         stats.objects, stats.pinnedObjects, stats.spilledObjects, stats.spillFiles);
  const bool clean = stats.usedBytes == 0 && stats.objects == 0 && stats.pinnedObjects == 0 &&
                     stats.spilledObjects == 0 && stats.spillFiles == 0;
  return clean && arena->check().empty() ? 0 : fail("left", arena->check());
}
