/** The value codec of a process: what it finds in values beside data, and how that travels. */

import type { ActorClient } from "../actors/actor-client.ts";
import { clientOf } from "../actors/handle.ts";
import { factsOf, PlacementGroup } from "../core/api/placement-groups.ts";
import type { PlacementGroupFacts } from "../core/base/options.ts";
import { entryOf, isObjectRef, ObjectRef } from "../core/ownership/object-ref.ts";
import type { ReferenceTable } from "../core/ownership/reference-table.ts";
import { type Payload, PayloadKind } from "../core/rpc/messages.ts";
import { ValueCodec } from "../core/serialize/codec.ts";
import type { HandleCodec } from "../core/serialize/hooks.ts";
import { toBytes } from "../core/serialize/layout.ts";
import { functionCodec, remoteForms, scopes } from "./functions.ts";

export interface HandleBinding {
  exportHandle(client: ActorClient): unknown;
  importHandle(data: unknown): object;
}

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
  const groups: HandleCodec<PlacementGroup> = {
    tag: "group",
    test: (value): value is PlacementGroup => value instanceof PlacementGroup,
    encode: (group) => factsOf(group),
    decode: (data) => new PlacementGroup(data as PlacementGroupFacts),
  };
  return new ValueCodec({
    handles: [refs as unknown as HandleCodec, actors, remoteForms, groups as unknown as HandleCodec],
    classes: scopes,
    functions: functionCodec(),
  });
}

/** An error's payload where no connection, and so no object access, came to be. */
export function bareError(error: unknown, references: ReferenceTable, binding: HandleBinding): Payload {
  return [PayloadKind.error, toBytes(createCodec(references, binding).encode(error, "the error"))];
}
