/**
 * An environment as processes tell each other of it: what a raylet needs to start workers of it.
 *
 * Plain JSON; equal texts are the same environment, and "" is none. Decides how environments join. Knows no file and no
 * process.
 */
import { createHash } from "node:crypto";

/** Files that travel. */
export interface Tree {
  /** Package with them: SHA-256 of the archive, in hex. */
  readonly hash: string;
  /** URL of the directory that they come from, with a slash at the end: what functions and modules are called after. */
  readonly root: string;
}

/** An entry module and its imports as one file of a tree. */
export interface BundleTree extends Tree {
  /** URL of the module that was bundled. */
  readonly entry: string;
}

export interface NpmSpec {
  readonly packages: readonly string[];
  readonly args: readonly string[];
}

/** Fields that are absent are as the node has them. */
export interface EnvironmentSpec {
  readonly envVars?: Readonly<Record<string, string>>;
  /** Where workers run. */
  readonly tree?: Tree;
  readonly bundle?: BundleTree;
  /** false: nothing is installed, also where the project travels by itself. */
  readonly npm?: NpmSpec | false;
  readonly execArgv?: readonly string[];
  /** A module to import, or code: a function in the value codec's form, base64. */
  readonly setup?: { readonly module: string } | { readonly code: string };
}

/** The text of a spec, with its fields in one order. */
export function specToText(spec: EnvironmentSpec): string {
  const ordered = sorted(spec) as object;
  return Object.keys(ordered).length === 0 ? "" : JSON.stringify(ordered);
}

export function specFromText(text: string): EnvironmentSpec {
  return text === "" ? {} : (JSON.parse(text) as EnvironmentSpec);
}

/** A short name of what a text stands for. */
export function hashText(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}

/** As Ray joins them: variables are added, other fields of `over` replace those of `base`. */
export function joinSpecs(base: EnvironmentSpec, over: EnvironmentSpec): EnvironmentSpec {
  const envVars = { ...base.envVars, ...over.envVars };
  return { ...base, ...over, ...(Object.keys(envVars).length === 0 ? {} : { envVars }) };
}

/** The workers of one job in one environment: only these serve each other's demand. */
export function poolOf(jobId: string, environment: string): string {
  return environment === "" ? jobId : `${jobId}/${hashText(environment)}`;
}

function sorted(value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  const entries = Object.entries(value).filter(([, each]) => each !== undefined);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([k, v]) => [k, sorted(v)]));
}
