/** Refs to what is imported at the other side, as they stand in a message: with files as the driver calls them. */
import { isAbsolute } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { isMapped, localUrl, travelUrl } from "../base/module-map.ts";
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
  return [form, mapSpecifier(specifier, travelUrl), travelUrl(parent), name];
}

/** @returns undefined for anything else than what {@link refToTuple} gives */
export function refFromTuple(tuple: unknown): ImportRef | undefined {
  if (!Array.isArray(tuple) || tuple.length !== 4) return undefined;
  const [form, specifier, parent, name] = tuple as unknown[];
  if (typeof specifier !== "string" || typeof parent !== "string") return undefined;
  if (typeof form !== "string" || !FORMS.includes(form) || (name !== null && typeof name !== "string"))
    return undefined;
  return {
    form: form as ImportRef["form"],
    specifier: mapSpecifier(specifier, localUrl),
    parent: localUrl(parent),
    name,
  };
}

/** `require` names files by their paths. */
function mapSpecifier(specifier: string, map: (url: string) => string): string {
  if (!isMapped() || !isAbsolute(specifier)) return map(specifier);
  return fileURLToPath(map(pathToFileURL(specifier).href));
}
