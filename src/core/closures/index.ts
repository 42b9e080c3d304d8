/**
 * Functions and classes by value: the door of this folder.
 *
 * Sending: capture.ts reads what a function closes over, free-variables.ts tells which of it the function uses,
 * definition.ts makes its text travel, fixed.ts knows which need to be sent once only. Receiving: rebuild.ts. Values in between go through the value codec.
 */
import type { FunctionCodec } from "../serialize/hooks.ts";
import { Capture, type CaptureParts } from "./capture.ts";
import { Rebuild, type RebuildParts } from "./rebuild.ts";
import { refToTuple } from "./refs.ts";

export type FunctionCodecParts = Omit<CaptureParts, "importsOf" | "madeFrom"> & RebuildParts;

/** What processes of one job tell each other functions with. */
export function createFunctionCodec(parts: FunctionCodecParts): FunctionCodec {
  const rebuild = new Rebuild(parts);
  // Functions that were made here travel on as what they were made from.
  const capture = new Capture({
    ...parts,
    madeFrom: (fn) => rebuild.madeFrom(fn),
    importsOf: (hash) => rebuild.importsOf(hash),
  });
  return {
    lower: (fn) => capture.lower(fn),
    isFixed: (fn) => capture.isFixed(fn),
    known: (value) => capture.known(value),
    define: (definition) => rebuild.define(definition),
    begin: (hash) => rebuild.begin(hash),
    missing: (refs) => rebuild.missing(refs),
    imported: (ref) => rebuild.imported(ref),
    moduleRef: (url) => refToTuple({ form: "import", specifier: url, parent: url, name: null }),
  };
}
