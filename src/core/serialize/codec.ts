/**
 * User values <-> bytes and out-of-band buffers: the one door of this folder for values.
 *
 * Decides between two forms of payload. Plain trees of JSON-like data are msgpack as they are (about 1 us for a small
 * argument list); everything else goes through the flat table of table.ts. msgpackr writes, our own strict reader reads:
 * a decoder that meets bytes of other processes must have a closed list of types.
 */

import { Packr } from "msgpackr/index-no-eval";
import { SerializationError } from "../base/errors.ts";
import {
  type AnyFunction,
  type CodecHooks,
  type EncodedValue,
  type EncodeOptions,
  NotLoaded,
} from "./hooks.ts";
import { BUFFERS_MAX, flatSize } from "./layout.ts";
import { lower } from "./lower.ts";
import { isPlain } from "./plain.ts";
import { raise } from "./raise.ts";
import { readMsgpack } from "./reader.ts";
import { TABLE_MARK } from "./table.ts";

const RESERVE_START_SPACE = 2048; // msgpackr's flag: the low byte says how many bytes to leave free in front
const NONE: readonly never[] = Object.freeze([]);
const NO_DEFINITIONS: ReadonlyMap<string, unknown> = new Map();

const packr = new Packr({ useRecords: false, structuredClone: false, useToJSON: false });

/** Encodes and decodes values. Stateless between calls; one per process is enough. */
export class ValueCodec {
  readonly #hooks: CodecHooks;

  constructor(hooks: CodecHooks) {
    this.#hooks = hooks;
  }

  /** `where` names the value in errors, e.g. "argument 0 of fit()". Large binary parts are not copied: do not change them until sent. */
  encode(value: unknown, where = "", options: EncodeOptions = {}): EncodedValue {
    if (isPlain(value)) {
      const payload = pack(value, 0, where);
      const byteLength = flatSize(payload, NONE);
      return { payload, buffers: NONE, handles: NONE, definitions: NO_DEFINITIONS, byteLength };
    }
    const { table, buffers, handles, definitions } = lower(value, this.#hooks, where, options);
    if (buffers.length > BUFFERS_MAX) {
      throw new SerializationError(
        `cannot serialize ${where}: it has ${buffers.length} large buffers, more than ${BUFFERS_MAX}`,
      );
    }
    const payload = pack(table, RESERVE_START_SPACE | 1, where);
    payload[0] = TABLE_MARK;
    return { payload, buffers, handles, definitions, byteLength: flatSize(payload, buffers) };
  }

  /** Whether a function that was encoded before gives the same bytes each time. */
  isFixed(fn: AnyFunction): boolean {
    return this.#hooks.functions?.isFixed(fn) === true;
  }

  /** The value; typed arrays of the value lie over `buffers`, everything else is a copy. @throws SerializationError, NotLoaded */
  decode(payload: Uint8Array, buffers: readonly Uint8Array[]): unknown {
    try {
      if (payload[0] !== TABLE_MARK) return readMsgpack(payload);
      return raise(readMsgpack(payload, 1), buffers, this.#hooks);
    } catch (error) {
      if (error instanceof SerializationError || error instanceof NotLoaded) throw error;
      const message = error instanceof Error ? error.message : String(error);
      throw new SerializationError(`cannot decode a value: ${message}`, { cause: error });
    }
  }
}

function pack(value: unknown, options: number, where: string): Uint8Array {
  try {
    return packr.pack(value, options);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new SerializationError(`cannot serialize${where === "" ? "" : ` ${where}`}: ${message}`, {
      cause: error,
    });
  }
}
