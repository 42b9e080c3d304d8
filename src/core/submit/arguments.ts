/** Step 2 of the main path: arguments -> what a worker gets, and the refs the call must wait for and keep alive. */
import type { ObjectEntry } from "../ownership/entries.ts";
import { isPlain, type ObjectAccess, type PackOptions } from "../ownership/object-access.ts";
import { entryOf, isObjectRef } from "../ownership/object-ref.ts";
import type { ReferenceTable } from "../ownership/reference-table.ts";
import { type ArgRef, type ArgsPayload, PayloadKind } from "../rpc/messages.ts";

const NO_REFS: readonly ArgRef[] = [];
/** Plain arguments of one call are packed instead when they are many. */
const PLAIN_ARGS_MAX = 64;

export interface PackedArguments {
  readonly args: ArgsPayload;
  /** Top-level refs: the call waits for them. */
  readonly waitFor: readonly ObjectEntry[] | undefined;
  /** Everything that must stay alive until the call is done. */
  readonly held: readonly ObjectEntry[] | undefined;
  /** Code of the functions among them, to be sent before the call. */
  readonly definitions?: ReadonlyMap<string, unknown> | undefined;
}

const EMPTY: PackedArguments = { args: [0, []], waitFor: undefined, held: undefined };

/**
 * @param options `subject`: the first argument is the function itself, of that name
 * @throws SerializationError naming the argument; ObjectStoreFullError
 */
export function packArguments(
  args: readonly unknown[],
  name: string,
  objects: ObjectAccess,
  references: ReferenceTable,
  options: PackOptions,
): PackedArguments {
  if (args.length === 0) return EMPTY;
  if (args.length <= PLAIN_ARGS_MAX && args.every(isPlain))
    return { args: [0, args], waitFor: undefined, held: undefined };

  const known = plainValues(args);
  if (known !== undefined) return { args: [0, known], waitFor: undefined, held: undefined };

  const waitFor: ObjectEntry[] = [];
  const positions: number[] = [];
  const values = args.map((arg, i) => {
    if (!isObjectRef(arg)) return arg;
    waitFor.push(entryOf(arg));
    positions.push(i);
    return null;
  });
  // Large arguments become an object of ours that lives as long as the call.
  const carrier = references.newOwned();
  const where = options.subject === undefined ? `the arguments of ${name}()` : `the call of ${name}()`;
  const packed = objects.pack(values, references.self.processId, carrier.seq, where, options);
  const held: ObjectEntry[] = [...waitFor, ...(packed.held ?? [])];
  if (packed.payload[0] === PayloadKind.stored) {
    objects.settle(carrier, packed.payload);
    held.push(carrier);
  }
  const refs =
    waitFor.length === 0
      ? NO_REFS
      : waitFor.map((entry, i): ArgRef => [positions[i] as number, references.export(entry), null]);
  return {
    args: [1, packed.payload, refs, carrier.seq],
    waitFor: waitFor.length === 0 ? undefined : waitFor,
    held: held.length === 0 ? undefined : held,
    definitions: packed.definitions,
  };
}

/** The arguments with the values of their refs, where all are plain and known already: nothing is lent, nothing has to be asked for. */
function plainValues(args: readonly unknown[]): readonly unknown[] | undefined {
  if (args.length > PLAIN_ARGS_MAX) return undefined;
  const values: unknown[] = [];
  for (const arg of args) {
    const payload = isObjectRef(arg) ? entryOf(arg).payload : undefined;
    if (payload?.[0] === PayloadKind.plain) values.push(payload[1]);
    else if (isPlain(arg)) values.push(arg);
    else return undefined;
  }
  return values;
}

/** The same arguments with the values of its refs filled in, as far as they are known here. */
export function fillArguments(args: ArgsPayload, waitedFor: readonly ObjectEntry[]): ArgsPayload {
  if (args[0] === 0 || waitedFor.length === 0) return args;
  return [
    1,
    args[1],
    args[2].map(([position, ref], i): ArgRef => [position, ref, waitedFor[i]?.payload ?? null]),
    args[3],
  ];
}
