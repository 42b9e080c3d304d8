// The border between JavaScript and the arena: checks arguments, turns answers into values, throws no C++ exception.
// No policy here; what each function promises is written in CONTRACT.md and declared in src/core/store/native.ts.
#include <napi.h>

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include <cmath>
#include <unordered_map>

#include "arena.h"
#include "process.h"
#include "pulse.h"
#include "views.h"

namespace tsray {
namespace {

/** Largest integer that a JavaScript number holds exactly. */
constexpr double kSafeIntegerMax = 9007199254740991.0;
/** Up to this size a copy is cheaper than a mapping of its own. */
constexpr uint64_t kCopyBytesMax = 64 * 1024;

class ArenaWrap;

/** What belongs to one environment (main thread or worker thread). */
struct EnvState {
  Napi::FunctionReference arenaClass;
  Napi::FunctionReference weakClass;
  /** Handed from create/open to the constructor; empty when a user calls `new Arena()`. */
  std::shared_ptr<Arena> next;
  std::shared_ptr<Views> views = std::make_shared<Views>();
};

/** Memory of a half-made object keeps the arena mapped. */
void finalizeMemory(napi_env, void*, void* hint) { delete static_cast<std::shared_ptr<Arena>*>(hint); }

void throwType(Napi::Env env, const char* message) { Napi::TypeError::New(env, message).ThrowAsJavaScriptException(); }

void throwRange(Napi::Env env, const char* message) {
  Napi::RangeError::New(env, message).ThrowAsJavaScriptException();
}

Napi::Value throwDamaged(Napi::Env env) {
  Napi::Error::New(env, "the arena's mutex is beyond repair").ThrowAsJavaScriptException();
  return env.Undefined();
}

Napi::Value throwErrno(Napi::Env env, int error, const char* what, const std::string& path) {
  const char* code = error == ENOENT    ? "ENOENT"
                     : error == EEXIST  ? "EEXIST"
                     : error == ENOSPC  ? "ENOSPC"
                     : error == EDQUOT  ? "EDQUOT"
                     : error == EROFS   ? "EROFS"
                     : error == ENAMETOOLONG ? "ENAMETOOLONG"
                     : error == EACCES  ? "EACCES"
                     : error == EPERM   ? "EPERM"
                     : error == ELOOP   ? "ELOOP"
                     : error == ENOMEM  ? "ENOMEM"
                     : error == EFBIG   ? "EFBIG"
                     : error == EBADMSG ? "EBADMSG"
                     : error == EUSERS  ? "EUSERS"
                                        : "EIO";
  const char* text = error == EBADMSG  ? "not an arena of this version, or not ready yet"
                     : error == EUSERS ? "too many processes have it open"
                                       : strerror(error);
  Napi::Error thrown = Napi::Error::New(env, std::string(what) + " " + path + ": " + text);
  thrown.Set("code", Napi::String::New(env, code));
  thrown.ThrowAsJavaScriptException();
  return env.Undefined();
}

bool readInteger(Napi::Env env, const Napi::Value& value, const char* message, uint64_t* out) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= 0 && number <= kSafeIntegerMax) || number != std::floor(number)) {
    throwType(env, message);
    return false;
  }
  *out = static_cast<uint64_t>(number);
  return true;
}

bool readBytes(Napi::Env env, napi_value value, const char* message, const uint8_t** bytes, size_t* length) {
  bool isTyped = false;
  napi_typedarray_type type = napi_int8_array;
  void* data = nullptr;
  if (napi_is_typedarray(env, value, &isTyped) != napi_ok || !isTyped ||
      napi_get_typedarray_info(env, value, &type, length, &data, nullptr, nullptr) != napi_ok ||
      type != napi_uint8_array) {
    throwType(env, message);
    return false;
  }
  *bytes = static_cast<const uint8_t*>(data);
  if (data == nullptr) *length = 0;
  return true;
}

bool readKey(Napi::Env env, const Napi::Value& value, uint8_t* key) {
  const uint8_t* bytes = nullptr;
  size_t length = 0;
  if (!readBytes(env, value, "key must be a Uint8Array of 16 bytes", &bytes, &length)) return false;
  if (length != kKeyBytes) {
    throwType(env, "key must be a Uint8Array of 16 bytes");
    return false;
  }
  memcpy(key, bytes, kKeyBytes);
  return true;
}

bool readFlag(Napi::Env env, const Napi::Value& value, const char* message, bool* out) {
  if (!value.IsBoolean()) {
    throwType(env, message);
    return false;
  }
  *out = value.As<Napi::Boolean>().Value();
  return true;
}

/** Reads offsets[] and parts[] into parts that ascend, do not overlap and lie inside `size`. */
bool readParts(Napi::Env env, const Napi::Value& offsets, const Napi::Value& values, uint64_t size,
               std::vector<Part>* out) {
  if (!offsets.IsArray() || !values.IsArray()) {
    throwType(env, "offsets and parts must be arrays");
    return false;
  }
  const Napi::Array offsetArray = offsets.As<Napi::Array>();
  const Napi::Array partArray = values.As<Napi::Array>();
  const uint32_t count = partArray.Length();
  if (offsetArray.Length() != count) {
    throwType(env, "offsets and parts must have the same length");
    return false;
  }
  // Reading an element may run a getter, and a getter may detach a buffer: take all elements before any pointer.
  std::vector<napi_value> elements(count);
  out->resize(count);
  for (uint32_t i = 0; i < count; i++) {
    napi_value offset;
    if (napi_get_element(env, partArray, i, &elements[i]) != napi_ok ||
        napi_get_element(env, offsetArray, i, &offset) != napi_ok) {
      if (!env.IsExceptionPending()) throwType(env, "offsets and parts must be readable");
      return false;
    }
    if (!readInteger(env, Napi::Value(env, offset), "an offset must be a whole number of bytes", &(*out)[i].offset)) {
      return false;
    }
  }
  uint64_t at = 0;
  for (uint32_t i = 0; i < count; i++) {
    Part& part = (*out)[i];
    if (!readBytes(env, elements[i], "a part must be a Uint8Array", &part.bytes, &part.length)) return false;
    if (part.offset < at || part.offset > size || part.length > size - part.offset) {
      throwRange(env, "parts must ascend, not overlap, and lie inside the object's size");
      return false;
    }
    at = part.offset + part.length;
  }
  return true;
}

Napi::Value putCode(Napi::Env env, Put answer) {
  if (answer == Put::damaged) return throwDamaged(env);
  return Napi::Number::New(env, answer == Put::ok ? 1 : answer == Put::exists ? 0 : -1);
}

/** Makes pages present on a thread of the pool. */
class Prefault : public Napi::AsyncWorker {
 public:
  Prefault(Napi::Env env, std::shared_ptr<Arena> arena, uint64_t offset, uint64_t bytes)
      : Napi::AsyncWorker(env), deferred_(env), arena_(std::move(arena)), offset_(offset), bytes_(bytes) {}
  void Execute() override { done_ = arena_->prefault(offset_, bytes_); }
  void OnOK() override { deferred_.Resolve(Napi::Boolean::New(Env(), done_)); }
  Napi::Promise promise() const { return deferred_.Promise(); }

 private:
  Napi::Promise::Deferred deferred_;
  std::shared_ptr<Arena> arena_;
  uint64_t offset_, bytes_;
  bool done_ = false;
};

/** Writes objects out on a thread of the pool. */
class SpillDown : public Napi::AsyncWorker {
 public:
  SpillDown(Napi::Env env, std::shared_ptr<Arena> arena, uint64_t usedBytes)
      : Napi::AsyncWorker(env), deferred_(env), arena_(std::move(arena)), usedBytes_(usedBytes) {}
  void Execute() override { done_ = arena_->spillDownTo(usedBytes_); }
  void OnOK() override { deferred_.Resolve(Napi::Boolean::New(Env(), done_)); }
  Napi::Promise promise() const { return deferred_.Promise(); }

 private:
  Napi::Promise::Deferred deferred_;
  std::shared_ptr<Arena> arena_;
  uint64_t usedBytes_;
  bool done_ = false;
};

/** Unlike JavaScript's WeakRef it does not keep its target alive until the end of the job in which it was made. */
class WeakWrap : public Napi::ObjectWrap<WeakWrap> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Weak", {InstanceMethod<&WeakWrap::isAlive>("isAlive")});
  }

  explicit WeakWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<WeakWrap>(info) {
    if (!info[0].IsObject()) {
      throwType(info.Env(), "a weak reference takes an object");
      return;
    }
    target_ = Napi::Weak(info[0].As<Napi::Object>());
  }

 private:
  Napi::Value isAlive(const Napi::CallbackInfo& info) {
    return Napi::Boolean::New(info.Env(), !target_.IsEmpty() && !target_.Value().IsEmpty());
  }

  Napi::ObjectReference target_;
};

class ArenaWrap : public Napi::ObjectWrap<ArenaWrap> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Arena",
                       {
                           StaticMethod<&ArenaWrap::create>("create"),
                           StaticMethod<&ArenaWrap::open>("open"),
                           InstanceMethod<&ArenaWrap::put>("put"),
                           InstanceMethod<&ArenaWrap::createObject>("create"),
                           InstanceMethod<&ArenaWrap::writeAt>("writeAt"),
                           InstanceMethod<&ArenaWrap::memory>("memory"),
                           InstanceMethod<&ArenaWrap::seal>("seal"),
                           InstanceMethod<&ArenaWrap::abort>("abort"),
                           InstanceMethod<&ArenaWrap::contains>("contains"), InstanceMethod<&ArenaWrap::keep>("keep"),
                           InstanceMethod<&ArenaWrap::size>("size"),
                           InstanceMethod<&ArenaWrap::get>("get"),
                           InstanceMethod<&ArenaWrap::readChunk>("readChunk"),
                           StaticMethod<&ArenaWrap::release>("release"),
                           StaticMethod<&ArenaWrap::originOf>("originOf"),
                           StaticMethod<&ArenaWrap::sweep>("sweep"),
                           StaticMethod<&ArenaWrap::viewsElsewhere>("viewsElsewhere"),
                           InstanceMethod<&ArenaWrap::remove>("delete"),
                           InstanceMethod<&ArenaWrap::removeAll>("deleteAll"),
                           InstanceMethod<&ArenaWrap::reclaim>("reclaim"),
                           InstanceMethod<&ArenaWrap::stats>("stats"),
                           InstanceMethod<&ArenaWrap::list>("list"),
                           InstanceMethod<&ArenaWrap::check>("check"),
                           InstanceMethod<&ArenaWrap::prefault>("prefault"),
                           InstanceMethod<&ArenaWrap::spillDownTo>("spillDownTo"),
                           InstanceMethod<&ArenaWrap::close>("close"),
                       });
  }

  explicit ArenaWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ArenaWrap>(info) {
    EnvState* state = info.Env().GetInstanceData<EnvState>();
    if (state->next == nullptr) {
      throwType(info.Env(), "use Arena.create or Arena.open");
      return;
    }
    arena_ = std::move(state->next);
  }

 private:
  static Napi::Value wrap(Napi::Env env, std::shared_ptr<Arena> arena) {
    EnvState* state = env.GetInstanceData<EnvState>();
    state->next = std::move(arena);
    const Napi::Object made = state->arenaClass.New({});
    state->next.reset();
    return made;
  }

  static bool readPath(const Napi::CallbackInfo& info, std::string* path) {
    if (info[0].IsString()) *path = info[0].As<Napi::String>().Utf8Value();
    if (!path->empty() && path->find('\0') == std::string::npos) return true;
    throwType(info.Env(), "path must be a non-empty string without NUL");
    return false;
  }

  static Napi::Value create(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    std::string path;
    uint64_t capacityBytes = 0;
    if (!readPath(info, &path)) return env.Undefined();
    if (!readInteger(env, info[1], "capacityBytes must be a whole number", &capacityBytes)) return env.Undefined();
    if (capacityBytes < kPageBytes || capacityBytes > (uint64_t{1} << 46)) {
      throwRange(env, "capacityBytes must be from 4096 to 2 ** 46");
      return env.Undefined();
    }
    std::string spillDir;
    if (!info[2].IsUndefined()) {
      if (info[2].IsString()) spillDir = info[2].As<Napi::String>().Utf8Value();
      if (spillDir.empty() || spillDir[0] != '/' || spillDir.find('\0') != std::string::npos) {
        throwType(env, "spillDir must be an absolute path without NUL");
        return env.Undefined();
      }
    }
    std::shared_ptr<Arena> arena;
    const int error = Arena::create(path.c_str(), capacityBytes, spillDir.c_str(), &arena);
    return error == 0 ? wrap(env, std::move(arena)) : throwErrno(env, error, "cannot create arena", path);
  }

  static Napi::Value open(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    std::string path;
    if (!readPath(info, &path)) return env.Undefined();
    std::shared_ptr<Arena> arena;
    const int error = Arena::open(path.c_str(), &arena);
    return error == 0 ? wrap(env, std::move(arena)) : throwErrno(env, error, "cannot open arena", path);
  }

  bool isOpen(Napi::Env env) const {
    if (arena_ != nullptr) return true;
    Napi::Error::New(env, "the arena is closed").ThrowAsJavaScriptException();
    return false;
  }

  /** The check that all methods with a key begin with. */
  bool begin(const Napi::CallbackInfo& info, uint8_t* key) const {
    return isOpen(info.Env()) && readKey(info.Env(), info[0], key);
  }

  Napi::Value put(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    uint8_t key[kKeyBytes];
    uint64_t size = 0;
    bool secondary = false;
    std::vector<Part> parts;
    // Parts come last: nothing may run JavaScript between taking their pointers and copying from them.
    if (!begin(info, key) || !readInteger(env, info[1], "size must be a whole number of bytes", &size) ||
        !readFlag(env, info[4], "secondary must be a boolean", &secondary) ||
        !readParts(env, info[2], info[3], size, &parts)) {
      return env.Undefined();
    }
    if (!isOpen(env)) return env.Undefined();  // a getter among the parts may have closed it
    return putCode(env, arena_->put(key, size, parts, secondary));
  }

  Napi::Value createObject(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    uint8_t key[kKeyBytes];
    uint64_t size = 0;
    bool secondary = false;
    if (!begin(info, key) || !readInteger(env, info[1], "size must be a whole number of bytes", &size) ||
        !readFlag(env, info[2], "secondary must be a boolean", &secondary)) {
      return env.Undefined();
    }
    Place place;
    return putCode(env, arena_->create(key, size, secondary, &place));
  }

  Napi::Value writeAt(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    uint8_t key[kKeyBytes];
    uint64_t offset = 0;
    const uint8_t* bytes = nullptr;
    size_t length = 0;
    if (!begin(info, key) || !readInteger(env, info[1], "offset must be a whole number of bytes", &offset) ||
        !readBytes(env, info[2], "bytes must be a Uint8Array", &bytes, &length)) {
      return env.Undefined();
    }
    Place place;
    const Found found = arena_->findCreating(key, &place);
    if (found != Found::ok) return answerCreating(env, found);
    if (offset > place.size || length > place.size - offset) {
      throwRange(env, "bytes must lie inside the object's size");
    } else if (!arena_->write(place, offset, bytes, length)) {
      return throwErrno(env, errno, "cannot write", "an object on disk");
    }
    return env.Undefined();
  }

  /** The bytes of a half-made object, until it is sealed or aborted. */
  Napi::Value memory(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    uint8_t key[kKeyBytes];
    if (!begin(info, key)) return env.Undefined();
    Place place;
    const Found found = arena_->findCreating(key, &place);
    if (found != Found::ok) return answerCreating(env, found);
    uint8_t* const bytes = arena_->memoryOf(place);
    if (bytes == nullptr || place.size == 0) return env.Null();
    const auto lent = lent_.find(place.block);
    if (lent != lent_.end()) return lent->second.Value();
    auto* holder = new std::shared_ptr<Arena>(arena_);
    napi_value buffer = nullptr;
    if (napi_create_external_buffer(env, place.size, bytes, finalizeMemory, holder, &buffer) != napi_ok) {
      delete holder;
      return env.IsExceptionPending() ? env.Undefined() : env.Null();
    }
    lent_[place.block] = Napi::Persistent(Napi::Value(env, buffer).As<Napi::Object>());
    return Napi::Value(env, buffer);
  }

  /** Before anybody else may see, or have, the memory of a half-made object, JavaScript lets go of it. */
  void takeBack(uint32_t block) {
    const auto lent = lent_.find(block);
    if (lent == lent_.end()) return;
    detach(lent->second.Value().Env(), lent->second.Value());
    lent_.erase(lent);
  }

  static bool detach(napi_env env, napi_value typed) {
    napi_value buffer = nullptr;
    return napi_get_typedarray_info(env, typed, nullptr, nullptr, nullptr, &buffer, nullptr) == napi_ok &&
           napi_detach_arraybuffer(env, buffer) == napi_ok;
  }

  Napi::Value seal(const Napi::CallbackInfo& info) { return endCreating(info, true); }

  Napi::Value abort(const Napi::CallbackInfo& info) { return endCreating(info, false); }

  Napi::Value endCreating(const Napi::CallbackInfo& info, bool whole) {
    uint8_t key[kKeyBytes];
    if (!begin(info, key)) return info.Env().Undefined();
    Place place;
    const Found found = arena_->findCreating(key, &place);
    if (found != Found::ok) return answerCreating(info.Env(), found);
    takeBack(place.block);
    return answerCreating(info.Env(), whole ? arena_->seal(key) : arena_->abort(key));
  }

  static Napi::Value answerCreating(Napi::Env env, Found found) {
    if (found == Found::damaged) return throwDamaged(env);
    if (found == Found::missing) {
      Napi::Error::New(env, "no object of this key is being created through this arena").ThrowAsJavaScriptException();
    }
    return env.Undefined();
  }

  Napi::Value contains(const Napi::CallbackInfo& info) {
    uint8_t key[kKeyBytes];
    if (!begin(info, key)) return info.Env().Undefined();
    Place place;
    const Found found = arena_->find(key, false, &place);
    if (found == Found::damaged) return throwDamaged(info.Env());
    return Napi::Boolean::New(info.Env(), found == Found::ok);
  }

  Napi::Value keep(const Napi::CallbackInfo& info) {
    uint8_t key[kKeyBytes];
    if (!begin(info, key)) return info.Env().Undefined();
    const Found found = arena_->keep(key);
    if (found == Found::damaged) return throwDamaged(info.Env());
    return Napi::Boolean::New(info.Env(), found == Found::ok);
  }

  Napi::Value size(const Napi::CallbackInfo& info) {
    uint8_t key[kKeyBytes];
    if (!begin(info, key)) return info.Env().Undefined();
    Place place;
    const Found found = arena_->find(key, false, &place);
    if (found == Found::damaged) return throwDamaged(info.Env());
    return Napi::Number::New(info.Env(), found == Found::ok ? static_cast<double>(place.size) : -1);
  }

  Napi::Value get(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    uint8_t key[kKeyBytes];
    if (!begin(info, key)) return env.Undefined();
    Place place;
    const Found found = arena_->find(key, true, &place);
    if (found == Found::damaged) return throwDamaged(env);
    if (found == Found::missing) return env.Null();
    if (place.size > kCopyBytesMax) return view(env, key);
    return copy(env, key, 0, place.size);
  }

  Napi::Value readChunk(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    uint8_t key[kKeyBytes];
    uint64_t offset = 0, length = 0;
    if (!begin(info, key) || !readInteger(env, info[1], "offset must be a whole number of bytes", &offset) ||
        !readInteger(env, info[2], "length must be a whole number of bytes", &length)) {
      return env.Undefined();
    }
    return copy(env, key, offset, length);
  }

  /** Pins and maps; falls back to a copy where the process cannot have another mapping. */
  Napi::Value view(Napi::Env env, const uint8_t* key) {
    Place place;
    uint32_t pin = 0;
    const Found found = arena_->pin(key, &pin, &place);
    if (found == Found::damaged) return throwDamaged(env);
    if (found == Found::missing) return env.Null();
    if (pin == 0) return copy(env, key, 0, place.size);
    Mapping mapping{arena_, pin, place.block, nullptr, 0, nullptr, place.size};
    mapping.bytes = arena_->mapPrivate(place, &mapping.map, &mapping.mapBytes);
    bool whole = true;
    if (mapping.bytes != nullptr) {
      whole = !place.onDisk || arena_->checkReadBack(key, place, mapping.bytes);
      if (whole) {
        const napi_value buffer = env.GetInstanceData<EnvState>()->views->make(env, mapping);
        if (buffer != nullptr) return Napi::Value(env, buffer);
      } else {
        munmap(mapping.map, mapping.mapBytes);
      }
    }
    Napi::Value copied = env.Null();
    if (env.IsExceptionPending()) {
      copied = env.Undefined();
    } else if (whole) {
      copied = copy(env, key, 0, place.size);
    }
    arena_->unpin(pin, place.block);
    return copied;
  }

  /** Gives back, at once, what `get` mapped; the ArrayBuffer is empty from then on. False: it is no such view. */
  static Napi::Value release(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const uint8_t* bytes = nullptr;
    size_t length = 0;
    if (!readBytes(env, info[0], "view must be a Uint8Array", &bytes, &length)) return env.Undefined();
    napi_value buffer = nullptr;
    void* start = nullptr;
    size_t total = 0;
    napi_get_typedarray_info(env, info[0], nullptr, nullptr, nullptr, &buffer, nullptr);
    napi_get_arraybuffer_info(env, buffer, &start, &total);
    return Napi::Boolean::New(env, env.GetInstanceData<EnvState>()->views->release(env, buffer, start));
  }

  static Napi::Value sweep(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return Napi::Number::New(env, static_cast<double>(env.GetInstanceData<EnvState>()->views->sweep(env)));
  }

  static Napi::Value viewsElsewhere(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return Napi::Number::New(env, static_cast<double>(env.GetInstanceData<EnvState>()->views->elsewhere()));
  }

  /** Where the bytes of a view lie in the object it was got from; -1: they are no view, or have been written to. */
  static Napi::Value originOf(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const uint8_t* bytes = nullptr;
    size_t length = 0;
    if (!readBytes(env, info[0], "view must be a Uint8Array", &bytes, &length)) return env.Undefined();
    napi_value buffer = nullptr;
    void* start = nullptr;
    size_t total = 0;
    napi_get_typedarray_info(env, info[0], nullptr, nullptr, nullptr, &buffer, nullptr);
    napi_get_arraybuffer_info(env, buffer, &start, &total);
    const bool clean = length > 0 && env.GetInstanceData<EnvState>()->views->has(start) && !isWritten(bytes, length);
    return Napi::Number::New(env, clean ? static_cast<double>(bytes - static_cast<uint8_t*>(start)) : -1);
  }

  /** Copies without the mutex into a Buffer of its own, and again if the bytes were given away meanwhile. */
  Napi::Value copy(Napi::Env env, const uint8_t* key, uint64_t offset, uint64_t length) {
    for (;;) {
      Place place;
      const Found found = arena_->find(key, false, &place);
      if (found == Found::damaged) return throwDamaged(env);
      if (found == Found::missing) return env.Null();
      if (offset > place.size || length > place.size - offset) {
        throwRange(env, "the chunk must lie inside the object's size");
        return env.Undefined();
      }
      napi_value buffer = nullptr;
      void* to = nullptr;
      if (napi_create_buffer(env, length, &to, &buffer) != napi_ok) {
        if (!env.IsExceptionPending()) throwRange(env, "no memory for a Buffer of this length");
        return env.Undefined();
      }
      if (place.onDisk) return copyFromDisk(env, key, offset, length, static_cast<uint8_t*>(to), buffer);
      if (arena_->readAt(place, offset, static_cast<uint8_t*>(to), length)) return Napi::Value(env, buffer);
    }
  }

  /** On disk only a pin keeps an object where it is. */
  Napi::Value copyFromDisk(Napi::Env env, const uint8_t* key, uint64_t offset, uint64_t length, uint8_t* to,
                           napi_value buffer) {
    Place place;
    uint32_t pin = 0;
    const Found found = arena_->pin(key, &pin, &place);
    if (found == Found::damaged) return throwDamaged(env);
    if (found == Found::missing || pin == 0) return env.Null();
    bool good = place.onDisk && offset + length <= place.size && arena_->readDisk(place, offset, to, length);
    if (good && length == place.size) good = arena_->checkReadBack(key, place, to);
    arena_->unpin(pin, place.block);
    return good ? Napi::Value(env, buffer) : env.Null();
  }

  Napi::Value remove(const Napi::CallbackInfo& info) {
    uint8_t key[kKeyBytes];
    if (!begin(info, key)) return info.Env().Undefined();
    const Found found = arena_->remove(key);
    if (found == Found::damaged) return throwDamaged(info.Env());
    return Napi::Boolean::New(info.Env(), found == Found::ok);
  }

  Napi::Value removeAll(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const uint8_t* prefix = nullptr;
    size_t bytes = 0;
    if (!isOpen(env) || !readBytes(env, info[0], "prefix must be a Uint8Array", &prefix, &bytes)) {
      return env.Undefined();
    }
    if (bytes == 0 || bytes > kKeyBytes) {
      throwRange(env, "prefix must be of 1 to 16 bytes");
      return env.Undefined();
    }
    uint64_t count = 0;
    if (!arena_->removeAll(prefix, bytes, &count)) return throwDamaged(env);
    return Napi::Number::New(env, static_cast<double>(count));
  }

  Napi::Value reclaim(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    uint64_t pid = 0;
    if (!isOpen(env) || !readInteger(env, info[0], "pid must be a whole number", &pid)) return env.Undefined();
    if (pid == 0 || pid > INT32_MAX) {
      throwRange(env, "pid must be from 1 to 2 ** 31 - 1");
      return env.Undefined();
    }
    bool damaged = false;
    const bool done = arena_->reclaim(static_cast<pid_t>(pid), &damaged);
    return damaged ? throwDamaged(env) : Napi::Boolean::New(env, done);
  }

  Napi::Value stats(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!isOpen(env)) return env.Undefined();
    Stats stats;
    if (!arena_->stats(&stats)) return throwDamaged(env);
    const Napi::Object out = Napi::Object::New(env);
    setNumber(out, "capacityBytes", stats.capacityBytes);
    setNumber(out, "usedBytes", stats.usedBytes);
    setNumber(out, "evictableBytes", stats.evictableBytes);
    setNumber(out, "objects", stats.objects);
    setNumber(out, "pinnedObjects", stats.pinnedObjects);
    setNumber(out, "evictions", stats.evictions);
    setNumber(out, "spilledBytes", stats.spilledBytes);
    setNumber(out, "spilledObjects", stats.spilledObjects);
    setNumber(out, "spillFiles", stats.spillFiles);
    setNumber(out, "spilledBytesTotal", stats.spilledBytesTotal);
    setNumber(out, "readBackBytesTotal", stats.readBackBytesTotal);
    setNumber(out, "damagedObjects", stats.damagedObjects);
    out.Set("spillError", Napi::String::New(env, stats.spillErrno == 0 ? "" : strerror(stats.spillErrno)));
    return out;
  }

  Napi::Value list(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    uint64_t limit = 0;
    if (!isOpen(env) || !readInteger(env, info[0], "limit must be a whole number", &limit)) return env.Undefined();
    std::vector<Listed> listed;
    if (!arena_->list(limit, &listed)) return throwDamaged(env);
    const Napi::Array out = Napi::Array::New(env, listed.size());
    for (size_t i = 0; i < listed.size(); i++) {
      const Napi::HandleScope scope(env);
      out.Set(static_cast<uint32_t>(i), describe(env, listed[i]));
    }
    return out;
  }

  static Napi::Object describe(Napi::Env env, const Listed& listed) {
    char hex[2 * kKeyBytes + 1];
    for (size_t i = 0; i < kKeyBytes; i++) snprintf(hex + 2 * i, 3, "%02x", listed.key[i]);
    const Napi::Object out = Napi::Object::New(env);
    out.Set("key", Napi::String::New(env, hex));
    setNumber(out, "size", listed.size);
    out.Set("state", Napi::String::New(env, listed.state == kCreating ? "creating"
                                            : listed.state == kSealed ? "sealed"
                                                                      : "deleting"));
    out.Set("secondary", Napi::Boolean::New(env, listed.secondary));
    out.Set("where", Napi::String::New(env, listed.onDisk ? "disk" : "memory"));
    setNumber(out, "pins", listed.pins);
    return out;
  }

  static void setNumber(Napi::Object out, const char* name, uint64_t value) {
    out.Set(name, Napi::Number::New(out.Env(), static_cast<double>(value)));
  }

  Napi::Value check(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!isOpen(env)) return env.Undefined();
    const std::string broken = arena_->check();
    return broken.empty() ? env.Null() : Napi::Value(Napi::String::New(env, broken));
  }

  Napi::Value prefault(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    uint64_t offset = 0, bytes = 0;
    if (!isOpen(env) || !readInteger(env, info[0], "offset must be a whole number of bytes", &offset) ||
        !readInteger(env, info[1], "bytes must be a whole number of bytes", &bytes)) {
      return env.Undefined();
    }
    Prefault* work = new Prefault(env, arena_, offset, bytes);
    const Napi::Promise promise = work->promise();
    work->Queue();
    return promise;
  }

  Napi::Value spillDownTo(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    uint64_t usedBytes = 0;
    if (!isOpen(env) || !readInteger(env, info[0], "usedBytes must be a whole number of bytes", &usedBytes)) {
      return env.Undefined();
    }
    SpillDown* work = new SpillDown(env, arena_, usedBytes);
    const Napi::Promise promise = work->promise();
    work->Queue();
    return promise;
  }

  Napi::Value close(const Napi::CallbackInfo& info) {
    while (!lent_.empty()) takeBack(lent_.begin()->first);
    if (arena_ != nullptr) arena_->abortAll();
    arena_.reset();
    return info.Env().Undefined();
  }

  std::shared_ptr<Arena> arena_;
  /** Buffers over half-made objects, by block. */
  std::unordered_map<uint32_t, Napi::ObjectReference> lent_;
};

Napi::Value weakRef(const Napi::CallbackInfo& info) {
  return info.Env().GetInstanceData<EnvState>()->weakClass.New({info[0]});
}

Napi::Value setParentDeathSignalJs(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  uint64_t signal = 0, parent = 0;
  if (!readInteger(env, info[0], "signal must be a whole number", &signal) ||
      !readInteger(env, info[1], "expectedParentPid must be a whole number", &parent)) {
    return env.Undefined();
  }
  if (signal > 64 || parent > INT32_MAX) {
    throwRange(env, "signal must be from 0 to 64 and expectedParentPid below 2 ** 31");
    return env.Undefined();
  }
  int error = 0;
  const bool parentLives = setParentDeathSignal(static_cast<int>(signal), static_cast<pid_t>(parent), &error);
  if (error != 0) return throwErrno(env, error, "cannot set the parent death signal", std::to_string(signal));
  return Napi::Boolean::New(env, parentLives);
}

Napi::Value mapSharedJs(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  uint64_t fd = 0, bytes = 0;
  if (!readInteger(env, info[0], "fd must be a whole number", &fd) ||
      !readInteger(env, info[1], "bytes must be a whole number", &bytes)) {
    return env.Undefined();
  }
  if (fd > INT32_MAX || bytes == 0 || bytes > (uint64_t{1} << 30)) {
    throwRange(env, "fd must be below 2 ** 31 and bytes from 1 to 2 ** 30");
    return env.Undefined();
  }
  int error = 0;
  void* map = mapShared(static_cast<int>(fd), bytes, &error);
  if (map == nullptr) return throwErrno(env, error, "cannot map descriptor", std::to_string(fd));
  return Napi::Buffer<uint8_t>::New(env, static_cast<uint8_t*>(map), bytes,
                                    [bytes](Napi::Env, uint8_t* memory) { munmap(memory, bytes); });
}

Napi::Value watchPulseJs(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  uint64_t fd = 0, silentMs = 0;
  if (!readInteger(env, info[0], "fd must be a whole number", &fd) ||
      !readInteger(env, info[1], "silentMsMax must be a whole number", &silentMs)) {
    return env.Undefined();
  }
  if (fd > INT32_MAX || silentMs == 0 || silentMs > INT32_MAX) {
    throwRange(env, "fd must be below 2 ** 31 and silentMsMax from 1 to 2 ** 31 - 1");
    return env.Undefined();
  }
  int error = 0;
  if (!watchPulse(static_cast<int>(fd), silentMs, &error))
    return throwErrno(env, error, "cannot watch descriptor", std::to_string(fd));
  return env.Undefined();
}

Napi::Value bootMsJs(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), bootMs()); }

Napi::Object init(Napi::Env env, Napi::Object exports) {
  EnvState* state = new EnvState();
  env.SetInstanceData(state);
  const Napi::Function arenaClass = ArenaWrap::define(env);
  state->arenaClass = Napi::Persistent(arenaClass);
  state->weakClass = Napi::Persistent(WeakWrap::define(env));
  exports.Set("Arena", arenaClass);
  exports.Set("transferableViews", Napi::Boolean::New(env, Views::areTransferable(env)));
  exports.Set("weakRef", Napi::Function::New<weakRef>(env, "weakRef"));
  exports.Set("setParentDeathSignal", Napi::Function::New<setParentDeathSignalJs>(env, "setParentDeathSignal"));
  exports.Set("bootMs", Napi::Function::New<bootMsJs>(env, "bootMs"));
  exports.Set("watchPulse", Napi::Function::New<watchPulseJs>(env, "watchPulse"));
  exports.Set("mapShared", Napi::Function::New<mapSharedJs>(env, "mapShared"));
  return exports;
}

}  // namespace
}  // namespace tsray

static Napi::Object initTsray(Napi::Env env, Napi::Object exports) { return tsray::init(env, exports); }

NODE_API_MODULE(tsray, initTsray)
