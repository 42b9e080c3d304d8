// Views: objects that JavaScript reads in place. Decides how long their mappings and pins live.
#pragma once

#include <node_api.h>

#include <memory>
#include <unordered_map>
#include <vector>

#include "arena.h"

namespace tsray {

/** A pinned object, mapped for one reader. */
struct Mapping {
  std::shared_ptr<Arena> arena;
  uint32_t pin;
  uint32_t block;
  void* map;
  size_t mapBytes;
  uint8_t* bytes;
  uint64_t size;
};

struct View;

/**
 * The views of one environment (main thread or worker thread) that have not been given back. A view is given back when
 * its ArrayBuffer is released, or found dead, and its bytes were not transferred to another thread.
 *
 * Kept by a shared pointer: at the end of an environment nobody says who goes first.
 */
class Views : public std::enable_shared_from_this<Views> {
 public:
  /** A Buffer over the mapping, which it owns from then on. nullptr: none could be made, and the mapping is unmapped. */
  napi_value make(napi_env env, const Mapping& mapping);
  /** Whether the bytes that begin at `start` are a view of this environment. */
  bool has(const void* start) const { return start != nullptr && byStart_.count(start) != 0; }
  /** Detaches the ArrayBuffer that begins at `start` and gives the view back. False: it is none. */
  bool release(napi_env env, napi_value arrayBuffer, const void* start);
  /** Gives back what collections have found dead: V8 calls finalizers only when the turn is over. How many that were. */
  size_t sweep(napi_env env);
  /** Whether the addon was compiled for this major version of Node; see views.cc. */
  static bool areTransferable(napi_env env);
  /** Views whose bytes other threads have, as far as is known. */
  size_t elsewhere() const { return elsewhere_.size(); }

 private:
  friend struct View;
  static void finalize(napi_env env, void*, void* hint);
  void giveBack(napi_env env, View* view);
  void leave(View* view);

  std::unordered_map<const void*, View*> byStart_;
  std::vector<View*> elsewhere_;
};

}  // namespace tsray
