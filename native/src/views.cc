// Views over mappings, by V8's own interface where the addon runs under the version of Node that it was compiled for:
// only there can an ArrayBuffer over foreign memory be transferred to another thread, and be kept out of what V8 counts
// as memory that a collection would free (counted, 400 held views of 32 MiB cause a hundred full collections).
// Elsewhere by Node-API, whose external buffers are bound to their thread and counted.
#include "views.h"

#include <node.h>
#include <node_buffer.h>
#include <sys/mman.h>

#include <cstring>
#include <utility>

namespace tsray {
namespace {

/** Node's Node-API holds a v8::Local in a napi_value, bit by bit. */
napi_value valueOf(v8::Local<v8::Value> local) {
  static_assert(sizeof(napi_value) == sizeof(local), "a handle is a pointer");
  napi_value value;
  memcpy(&value, static_cast<void*>(&local), sizeof(value));
  return value;
}

}  // namespace

struct View {
  Mapping mapping;
  std::shared_ptr<Views> all;
  napi_ref arrayBuffer;  // weak: tells of its death before its finalizer is called
  /** V8's interface is in use: `store` outlives the ArrayBuffer where that was transferred. */
  bool isTransferable;
  std::weak_ptr<v8::BackingStore> store;
  bool isFinalized;
  bool isElsewhere;

  /**
   * Nobody has the bytes; to be asked when the ArrayBuffer is dead or detached. V8 frees the stores of dead ArrayBuffers on
   * a thread of its own (core/ownership/collector.ts has its collections do so at once), so it can be a little late.
   */
  bool isOver() const { return !isTransferable || store.expired(); }
};

/** V8's interface has no stable binary form. */
bool Views::areTransferable(napi_env env) {
  const napi_node_version* version = nullptr;
  return napi_get_node_version(env, &version) == napi_ok && version->major == NODE_MAJOR_VERSION;
}

napi_value Views::make(napi_env env, const Mapping& mapping) {
  View* const view = new View{mapping, shared_from_this(), nullptr, areTransferable(env), {}, false, false};
  napi_value buffer = nullptr;
  napi_value memory = nullptr;
  bool done;
  if (view->isTransferable) {
    v8::Isolate* const isolate = v8::Isolate::GetCurrent();
    // What has this deleter V8 counts as nothing. It ends with the last thread that has it; nobody is told.
    const std::shared_ptr<v8::BackingStore> store = v8::ArrayBuffer::NewBackingStore(
        mapping.bytes, mapping.size, v8::BackingStore::EmptyDeleter, nullptr);
    view->store = store;
    const v8::Local<v8::ArrayBuffer> arrayBuffer = v8::ArrayBuffer::New(isolate, store);
    v8::Local<v8::Uint8Array> bytes;
    done = node::Buffer::New(isolate, arrayBuffer, 0, mapping.size).ToLocal(&bytes);
    if (done) {
      buffer = valueOf(bytes);
      memory = valueOf(arrayBuffer);
      done = napi_add_finalizer(env, memory, view, finalize, view, nullptr) == napi_ok;
    }
  } else {
    done = napi_create_external_buffer(env, mapping.size, mapping.bytes, finalize, view, &buffer) == napi_ok;
    if (done) napi_get_typedarray_info(env, buffer, nullptr, nullptr, nullptr, &memory, nullptr);
  }
  if (!done) {
    munmap(mapping.map, mapping.mapBytes);
    delete view;
    return nullptr;
  }
  if (memory != nullptr) napi_create_reference(env, memory, 0, &view->arrayBuffer);
  byStart_[mapping.bytes] = view;
  return buffer;
}

bool Views::release(napi_env env, napi_value arrayBuffer, const void* start) {
  const auto found = start == nullptr ? byStart_.end() : byStart_.find(start);
  // Nothing may point into the mapping when it goes.
  if (found == byStart_.end() || napi_detach_arraybuffer(env, arrayBuffer) != napi_ok) return false;
  giveBack(env, found->second);
  return true;
}

size_t Views::sweep(napi_env env) {
  std::vector<View*> dead;
  for (const auto& [start, view] : byStart_) {
    if (view->isElsewhere || view->arrayBuffer == nullptr) continue;
    napi_handle_scope scope;
    napi_value memory = nullptr;
    napi_open_handle_scope(env, &scope);
    if (napi_get_reference_value(env, view->arrayBuffer, &memory) == napi_ok && memory == nullptr) dead.push_back(view);
    napi_close_handle_scope(env, scope);
  }
  size_t given = 0;
  for (View* view : std::exchange(elsewhere_, {})) {
    if (view->isOver()) {
      giveBack(env, view);
      given++;
    } else {
      elsewhere_.push_back(view);
    }
  }
  for (View* view : dead) {
    if (view->isOver()) {
      giveBack(env, view);
      given++;
    } else {
      leave(view);
    }
  }
  return given;
}

void Views::finalize(napi_env env, void*, void* hint) {
  View* const view = static_cast<View*>(hint);
  const std::shared_ptr<Views> all = view->all;
  view->isFinalized = true;
  if (view->mapping.map == nullptr) {
    delete view;
    return;
  }
  // At the end of an environment the ArrayBuffer is still there.
  napi_value memory = nullptr;
  if (view->arrayBuffer != nullptr && napi_get_reference_value(env, view->arrayBuffer, &memory) == napi_ok &&
      memory != nullptr) {
    napi_detach_arraybuffer(env, memory);
  }
  if (view->isElsewhere) return;
  if (view->isOver()) {
    all->giveBack(env, view);
  } else {
    all->leave(view);
  }
}

/** To be asked for again at the next sweep; where the environment ends first, the pin stays until the process ends. */
void Views::leave(View* view) {
  view->isElsewhere = true;
  elsewhere_.push_back(view);
}

/** A view that its finalizer has not seen yet is deleted by it. */
void Views::giveBack(napi_env env, View* view) {
  Mapping& mapping = view->mapping;
  byStart_.erase(mapping.bytes);
  if (view->arrayBuffer != nullptr) napi_delete_reference(env, view->arrayBuffer);
  view->arrayBuffer = nullptr;
  munmap(mapping.map, mapping.mapBytes);
  mapping.map = nullptr;
  mapping.arena->unpin(mapping.pin, mapping.block);
  mapping.arena.reset();
  if (view->isFinalized) delete view;
}

}  // namespace tsray
