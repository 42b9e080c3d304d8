/**
 * Configurations and metrics as JSON and back, exactly: numbers that JSON lacks, undefined, bigint, Date, Map, Set and
 * typed arrays are tagged. What cannot be written down is refused with its path.
 */
import { InvalidOptionError } from "../errors.ts";

const TAG = "$tsray";

type Typed =
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | Float32Array
  | Float64Array;
const TYPED_ARRAYS: Readonly<Record<string, new (values: number[]) => Typed>> = {
  Int8Array,
  Uint8Array,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  Float32Array,
  Float64Array,
};

/** @throws InvalidOptionError naming the path of a value that has no written form (a function, a class instance) */
export function encode(value: unknown, path = ""): unknown {
  switch (typeof value) {
    case "string":
    case "boolean":
      return value;
    case "number":
      return Number.isFinite(value) && !Object.is(value, -0)
        ? value
        : { [TAG]: Object.is(value, -0) ? "-0" : String(value) };
    case "undefined":
      return { [TAG]: "undefined" };
    case "bigint":
      return { [TAG]: "bigint", value: String(value) };
    case "object":
      return value === null ? null : encodeObject(value, path);
    default:
      throw new InvalidOptionError(
        `${path === "" ? "the value" : path} is a ${typeof value}, which cannot be written to the experiment's journal: ` +
          "use a name for it and look it up in the trainable",
      );
  }
}

function encodeObject(value: object, path: string): unknown {
  if (Array.isArray(value)) return value.map((item, i) => encode(item, `${path}[${i}]`));
  if (value instanceof Date) return { [TAG]: "Date", value: value.getTime() };
  if (value instanceof Map) return { [TAG]: "Map", value: encode([...value], path) };
  if (value instanceof Set) return { [TAG]: "Set", value: encode([...value], path) };
  if (ArrayBuffer.isView(value) && value.constructor.name in TYPED_ARRAYS)
    return { [TAG]: value.constructor.name, value: encode(Array.from(value as Typed), path) };
  const proto = Object.getPrototypeOf(value) as object | null;
  if (proto !== Object.prototype && proto !== null) {
    throw new InvalidOptionError(
      `${path === "" ? "the value" : path} is an instance of ${value.constructor.name}, which cannot be written to the ` +
        "experiment's journal: use plain data",
    );
  }
  const encoded: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value))
    encoded[key] = encode(item, path === "" ? key : `${path}.${key}`);
  return TAG in value ? { [TAG]: "object", value: Object.entries(encoded) } : encoded;
}

/** The inverse of {@link encode}. */
export function decode(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(decode);
  if (TAG in value) return decodeTagged(value as { readonly [TAG]: string; readonly value?: unknown });
  const decoded: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value)) decoded[key] = decode(item);
  return decoded;
}

function decodeTagged({ [TAG]: tag, value }: { readonly [TAG]: string; readonly value?: unknown }): unknown {
  switch (tag) {
    case "undefined":
      return undefined;
    case "bigint":
      return BigInt(value as string);
    case "Date":
      return new Date(value as number);
    case "Map":
      return new Map(decode(value) as [unknown, unknown][]);
    case "Set":
      return new Set(decode(value) as unknown[]);
    case "object":
      return Object.fromEntries((value as [string, unknown][]).map(([key, item]) => [key, decode(item)]));
    default: {
      const Typed = TYPED_ARRAYS[tag];
      return Typed === undefined ? Number(tag) : new Typed(decode(value) as number[]);
    }
  }
}
