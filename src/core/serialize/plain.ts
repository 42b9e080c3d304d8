/**
 * Whether a value may take the fast path: a shallow tree of JSON-like data that msgpack carries as it is.
 *
 * Says no, and so leaves the value to lower.ts, whenever something would be lost: a shared or cyclic reference, a hole,
 * -0, a lone surrogate, a named property of an array, a key that msgpackr treats specially. A wrong "no" only costs time.
 */

import { inspect } from "node:util";

/** Nesting that the fast path and the reader walk by recursion; deeper values go through the flat table of lower.ts. */
export const PLAIN_DEPTH_MAX = 100;

/** Up to here a linear scan of the objects seen beats a Set. */
const SCAN_MAX = 12;
/** Up to here listing the keys of an array is cheaper than asking `inspect` for its named properties. */
const ARRAY_KEYS_MAX = 512;
const INT64_MIN = -(2n ** 63n);
const UINT64_MAX = 2n ** 64n - 1n;

let scanned: object[] = [];
let scannedSet: Set<object> | undefined;

/** Whether msgpack can carry the value with nothing lost. */
export function isPlain(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return isPlainPrimitive(value);
  const outer = scanned;
  const outerSet = scannedSet;
  scanned = [];
  scannedSet = undefined;
  try {
    return isPlainObject(value, 0);
  } catch {
    return false; // a getter threw: the slow path names it
  } finally {
    scanned = outer;
    scannedSet = outerSet;
  }
}

/** Whether a bigint fits msgpack's 64-bit integers. */
export function isInt64(value: bigint): boolean {
  return value >= INT64_MIN && value <= UINT64_MAX;
}

/** Whether UTF-8 can carry the string. */
export function isWellFormed(text: string): boolean {
  return (text as string & { isWellFormed(): boolean }).isWellFormed();
}

function isPlainPrimitive(value: unknown): boolean {
  switch (typeof value) {
    case "string":
      return isWellFormed(value);
    case "number":
      return value !== 0 || 1 / value > 0;
    case "boolean":
    case "undefined":
      return true;
    case "bigint":
      return isInt64(value);
    default:
      return value === null;
  }
}

function isPlainObject(value: object, depth: number): boolean {
  if (depth >= PLAIN_DEPTH_MAX) return false;
  const proto: unknown = Object.getPrototypeOf(value);
  if (proto === Object.prototype) {
    if (isRepeat(value)) return false;
    const record = value as Record<string, unknown>;
    for (const key in record) {
      if (key === "constructor" || key === "hasOwnProperty" || key === "__proto__" || !isWellFormed(key))
        return false;
      const item = record[key];
      if (typeof item === "object" && item !== null) {
        if (!isPlainObject(item, depth + 1)) return false;
      } else if (!isPlainPrimitive(item)) return false;
    }
    return true;
  }
  if (proto !== Array.prototype || !Array.isArray(value) || isRepeat(value)) return false;
  for (let i = 0; i < value.length; i++) {
    const item: unknown = value[i];
    if (typeof item === "object" && item !== null) {
      if (!isPlainObject(item, depth + 1)) return false;
    } else if (!isPlainPrimitive(item) || (item === undefined && !(i in value))) return false;
  }
  return !hasNamedProperties(value);
}

function isRepeat(value: object): boolean {
  if (scannedSet !== undefined) {
    const size = scannedSet.size;
    return scannedSet.add(value).size === size;
  }
  for (let i = 0; i < scanned.length; i++) if (scanned[i] === value) return true;
  scanned.push(value);
  if (scanned.length > SCAN_MAX) scannedSet = new Set(scanned);
  return false;
}

/** Whether a dense array has enumerable properties besides its elements (`index` of a RegExp match, `columns` of a CSV). */
function hasNamedProperties(array: readonly unknown[]): boolean {
  if (array.length <= ARRAY_KEYS_MAX) return Object.keys(array).length !== array.length;
  // inspect lists named properties without listing elements: constant time. Any other text means "look closer".
  return inspect(array, INSPECT_NAMED) !== `[ ... ${array.length} more items ]`;
}

const INSPECT_NAMED = {
  maxArrayLength: 0,
  depth: 0,
  customInspect: false,
  colors: false,
  breakLength: Infinity,
} as const;
