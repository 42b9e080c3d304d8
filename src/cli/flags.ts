/** What flags of the command line mean: text in, checked values out. @throws UsageError, InvalidOptionError */

import { resolve } from "node:path";
import { type ResolvedNodeOptions, resolveNodeOptions } from "../core/base/options.ts";
import { checkToken, readTokenFile } from "../core/base/token.ts";
import { givenToken } from "../runtime/find-raylet.ts";
import { UsageError } from "./usage-error.ts";

export interface NodeFlags {
  readonly numCpus?: string;
  readonly numGpus?: string;
  readonly resources?: string;
  readonly labels?: string;
  readonly objectStoreMemory?: string;
  readonly spillDir?: string;
}

const PORT_MAX = 65_535;
const BYTES_PER_UNIT: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
};

export function readNodeFlags(flags: NodeFlags): ResolvedNodeOptions {
  const { numCpus, numGpus, resources, labels, objectStoreMemory, spillDir } = flags;
  return resolveNodeOptions({
    numCpus: numCpus === undefined ? undefined : readWhole("--num-cpus", numCpus),
    numGpus: numGpus === undefined ? undefined : readWhole("--num-gpus", numGpus),
    resources: resources === undefined ? undefined : readResources(resources),
    labels: labels === undefined ? undefined : readLabels(labels),
    objectStoreMemory:
      objectStoreMemory === undefined ? undefined : readBytes("--object-store-memory", objectStoreMemory),
    spillDir: spillDir === undefined ? undefined : readDirectory("--spill-dir", spillDir),
  });
}

function readDirectory(flag: string, text: string): string {
  if (text === "" || text.includes("\0"))
    throw new UsageError(`${flag} must be a directory, got ${JSON.stringify(text)}`);
  return resolve(text);
}

/** The token that the user gives, by file or environment; undefined = none is given. */
export function readGivenToken(tokenFile: string | undefined): string | undefined {
  if (tokenFile !== undefined) return readTokenFile(tokenFile, "--token-file");
  const token = givenToken(undefined);
  return token === undefined ? undefined : checkToken(token, "TSRAY_TOKEN_FILE");
}

export function readPort(text: string): number {
  const port = readWhole("--port", text);
  if (port > PORT_MAX) throw new UsageError(`--port must be from 0 to ${PORT_MAX}, got ${text}`);
  return port;
}

/** "host:port" with a host that is a name or an IPv4 address. */
export function readAddress(flag: string, text: string): { readonly host: string; readonly port: number } {
  const found = /^([A-Za-z0-9._-]+):(\d{1,5})$/.exec(text);
  const port = Number(found?.[2]);
  if (found === null || port < 1 || port > PORT_MAX) {
    throw new UsageError(`${flag} must be HOST:PORT, as in 127.0.0.1:6380, got ${JSON.stringify(text)}`);
  }
  return { host: found[1] as string, port };
}

/** A name or an IPv4 address that other processes can connect to. */
export function readHost(text: string): string {
  if (text === "0.0.0.0" || text === "::") {
    throw new UsageError(
      `--host ${text} is no address to connect to: give the one under which other machines reach this one`,
    );
  }
  if (!/^[A-Za-z0-9._-]+$/.test(text)) {
    throw new UsageError(`--host must be a host name or an IPv4 address, got ${JSON.stringify(text)}`);
  }
  return text === "localhost" ? "127.0.0.1" : text;
}

export function isLoopback(host: string): boolean {
  return host === "localhost" || /^127\./.test(host);
}

/** Bytes, as a number or with a unit: 1073741824, 512MiB, 1.5 GB. */
export function readBytes(flag: string, text: string): number {
  const found = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/.exec(text.trim());
  const unit = (found?.[2] ?? "").toLowerCase();
  if (found === null || !Object.hasOwn(BYTES_PER_UNIT, unit)) {
    throw new UsageError(
      `${flag} must be a number of bytes, or as in 512MiB, 2GB; got ${JSON.stringify(text)}`,
    );
  }
  return Math.floor(Number(found[1]) * (BYTES_PER_UNIT[unit] ?? 1));
}

/** "k=v" pairs, split at the first "=". */
export function readPair(flag: string, text: string): readonly [key: string, value: string] {
  const at = text.indexOf("=");
  if (at <= 0) throw new UsageError(`${flag} takes KEY=VALUE, got ${JSON.stringify(text)}`);
  return [text.slice(0, at).trim(), text.slice(at + 1).trim()];
}

export function readWhole(flag: string, text: string): number {
  if (!/^\d+$/.test(text))
    throw new UsageError(`${flag} must be a whole number >= 0, got ${JSON.stringify(text)}`);
  return Number(text);
}

function readLabels(text: string): Record<string, string> {
  return Object.fromEntries(text.split(",").map((pair) => readPair("--labels", pair)));
}

function readResources(text: string): Record<string, number> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new UsageError(
      `--resources must be a JSON object of names and amounts, as in {"disk": 2}; got ${text}`,
    );
  }
  return value as Record<string, number>;
}
