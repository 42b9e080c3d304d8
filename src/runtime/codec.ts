/** The value codec of a process: refs and handles are found in values, and classes of the user's modules by scope. */

import type { ActorClient } from "../actors/actor-client.ts";
import { clientOf } from "../actors/handle.ts";
import { registry } from "../core/base/function-registry.ts";
import { entryOf, isObjectRef, ObjectRef } from "../core/ownership/object-ref.ts";
import type { ReferenceTable } from "../core/ownership/reference-table.ts";
import { ValueCodec } from "../core/serialize/codec.ts";
import type { HandleCodec } from "../core/serialize/hooks.ts";
import { createScopeResolver } from "../core/serialize/scopes.ts";

export interface HandleBinding {
  exportHandle(client: ActorClient): unknown;
  importHandle(data: unknown): object;
}

/** Classes are looked for in the scopes of every function that `remote()` has seen. */
const scopes = createScopeResolver();
registry.onRegister = (record) => scopes.addAnchor(record.fn, record.module);

export function createCodec(references: ReferenceTable, binding: HandleBinding): ValueCodec {
  const refs: HandleCodec<ObjectRef> = {
    tag: "ref",
    test: (value): value is ObjectRef => isObjectRef(value),
    encode: (ref) => references.encode(entryOf(ref)),
    decode: (data) => new ObjectRef(references.decode(data)),
  };
  const actors: HandleCodec = {
    tag: "actor",
    test: (value): value is object => clientOf(value) !== undefined,
    encode: (handle) => binding.exportHandle(clientOf(handle) as ActorClient),
    decode: (data) => binding.importHandle(data),
  };
  return new ValueCodec({ handles: [refs as unknown as HandleCodec, actors], classes: scopes });
}
