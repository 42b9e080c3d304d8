/** What lies in the package of a bundle, for who makes it and who runs it. */

export const BUNDLE_FILE = "bundle.mjs";
export const BUNDLE_FACTS_FILE = "bundle.json";

/** What a worker must know of a bundle. */
export interface BundleFacts {
  /** URL of the directory that the paths of its source map are relative to. */
  readonly root: string;
  /** Hash of each module's file, by URL, as descriptors of functions have it. */
  readonly files: Readonly<Record<string, string>>;
}
