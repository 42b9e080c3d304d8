/** Refs to what is imported at the other side, as they stand in a message. */
import type { ImportRef } from "./modules.ts";

const FORMS: readonly string[] = [
  "import",
  "require",
  "interop",
  "interop-node",
  "own",
  "builtin",
  "meta",
  "dynamic",
] satisfies readonly ImportRef["form"][];

export function refToTuple({ form, specifier, parent, name }: ImportRef): unknown[] {
  return [form, specifier, parent, name];
}

/** @returns undefined for anything else than what {@link refToTuple} gives */
export function refFromTuple(tuple: unknown): ImportRef | undefined {
  if (!Array.isArray(tuple) || tuple.length !== 4) return undefined;
  const [form, specifier, parent, name] = tuple as unknown[];
  if (typeof specifier !== "string" || typeof parent !== "string") return undefined;
  if (typeof form !== "string" || !FORMS.includes(form) || (name !== null && typeof name !== "string"))
    return undefined;
  return { form: form as ImportRef["form"], specifier, parent, name };
}
