/**
 * Where the driver's files are in this process. A worker on a node that has a copy of them runs the copy; functions and
 * modules are called after the original, so that every process of the job gives them the same names.
 *
 * Empty in drivers and in workers that see the driver's files: nothing is mapped then.
 */

interface Mapping {
  /** URL of the directory at the driver, with a slash at the end. */
  readonly root: string;
  /** URL of the copy. */
  readonly here: string;
}

let mappings: readonly Mapping[] = [];
/** A module whose copy is another file: the driver's entry, where that came as a bundle. */
let exact: ReadonlyMap<string, string> = new Map();

/** The most special directory first. */
export function mapModules(
  trees: readonly Mapping[],
  modules: ReadonlyMap<string, string> = new Map(),
): void {
  mappings = [...trees].sort((a, b) => b.root.length - a.root.length);
  exact = modules;
}

export function isMapped(): boolean {
  return mappings.length > 0;
}

/** URL under which this process finds what the driver calls `url`. */
export function localUrl(url: string): string {
  if (mappings.length === 0) return url;
  const file = exact.get(url);
  if (file !== undefined) return file;
  const found = mappings.find(({ root }) => url.startsWith(root));
  return found === undefined ? url : found.here + url.slice(found.root.length);
}

/** What the driver calls a file of this process. */
export function travelUrl(url: string): string {
  if (mappings.length === 0) return url;
  const found = mappings.find(({ here }) => url.startsWith(here));
  return found === undefined ? url : found.root + url.slice(found.here.length);
}

/** A text in which files of this process are named as the driver has them: stack traces. */
export function travelText(text: string): string {
  let mapped = text;
  for (const { root, here } of mappings) {
    mapped = mapped.replaceAll(here, root).replaceAll(pathOf(here), pathOf(root));
  }
  return mapped;
}

function pathOf(url: string): string {
  return decodeURI(url.replace(/^file:\/\//, ""));
}
