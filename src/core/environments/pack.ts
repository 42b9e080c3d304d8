/**
 * A directory as an archive: which of its files travel, and in what form. Equal files make equal bytes, so that they
 * travel once.
 *
 * Left out: `node_modules`, `.git`, what .gitignore files say (each for its own directory and below), and `excludes`.
 * Symbolic links travel as what they point to; sockets and devices stay behind.
 */
import { createHash } from "node:crypto";
import type { Stats } from "node:fs";
import { readdir, readFile, realpath, stat } from "node:fs/promises";
import { join } from "node:path";
import { finished } from "node:stream/promises";
import { createGzip } from "node:zlib";
import ignore, { type Ignore } from "ignore";
import { Header } from "tar";
import { RuntimeEnvError } from "../base/errors.ts";
import { LIMITS, megabytes, type PackageLimits, type PackedFiles } from "./package.ts";

const NEVER = ["node_modules", ".git", ".DS_Store"];
const BLOCK = 512;
/** Of zlib: source code shrinks to a third anyway, and whoever waits for it has a network faster than zlib's best. */
const FAST = 1;
const EXECUTABLE = 0o100;

interface Found {
  /** Below the root, with slashes; a directory's ends with one. */
  readonly path: string;
  readonly stats: Stats;
}

/** Patterns, and the directory that they are relative to ("" or "sub/"). */
interface Rules {
  readonly base: string;
  readonly rules: Ignore;
}

/** @throws RuntimeEnvError when there is no such directory, or more in it than may travel */
export async function packDirectory(
  root: string,
  excludes: readonly string[] = [],
  limits: PackageLimits = LIMITS,
): Promise<PackedFiles> {
  const files = await filesOf(root, excludes, limits);
  return archive(
    (async function* () {
      for (const { path, stats } of files) {
        const isDirectory = path.endsWith("/");
        yield {
          path,
          isExecutable: (stats.mode & EXECUTABLE) !== 0,
          bytes: isDirectory ? undefined : await readFile(join(root, path)),
        };
      }
    })(),
    root,
    limits,
  );
}

interface Entry {
  readonly path: string;
  readonly isExecutable: boolean;
  /** undefined = a directory. */
  readonly bytes: Buffer | undefined;
}

/** A gzipped tar whose bytes depend on paths and contents only. @param what names the files in errors */
export async function archive(
  entries: Iterable<Entry> | AsyncIterable<Entry>,
  what: string,
  limits: PackageLimits = LIMITS,
): Promise<PackedFiles> {
  const gzip = createGzip({ level: FAST });
  const chunks: Buffer[] = [];
  let packed = 0;
  gzip.on("data", (chunk: Buffer) => {
    packed += chunk.length;
    chunks.push(chunk);
  });
  const done = finished(gzip);
  done.catch(() => {});
  const write = async (bytes: Buffer) => {
    if (!gzip.write(bytes)) await new Promise((resolve) => gzip.once("drain", resolve));
  };
  for await (const { path, isExecutable, bytes } of entries) {
    await write(headerOf(path, isExecutable, bytes?.length));
    if (bytes === undefined) continue;
    await write(bytes);
    const rest = bytes.length % BLOCK;
    if (rest > 0) await write(Buffer.alloc(BLOCK - rest));
    if (packed > limits.packageBytesMax) {
      gzip.destroy();
      throw tooLarge(what, `an archive of more than ${megabytes(limits.packageBytesMax)}`, "");
    }
  }
  await write(Buffer.alloc(2 * BLOCK));
  gzip.end();
  await done;
  const all = Buffer.concat(chunks);
  if (all.length > limits.packageBytesMax)
    throw tooLarge(what, `an archive of more than ${megabytes(limits.packageBytesMax)}`, "");
  return { hash: createHash("sha256").update(all).digest("hex"), bytes: all };
}

/** A file's or a directory's header; one with a long path has another before it that says the path. */
function headerOf(path: string, isExecutable: boolean, size: number | undefined): Buffer {
  const isDirectory = size === undefined;
  const header = new Header({
    path,
    mode: isDirectory || isExecutable ? 0o755 : 0o644,
    uid: 0,
    gid: 0,
    size: size ?? 0,
    mtime: new Date(0),
    type: isDirectory ? "Directory" : "File",
  });
  const block = Buffer.alloc(BLOCK);
  if (!header.encode(block)) return block;
  // The path does not fit: a header of the POSIX extension carries it.
  const record = paxRecord("path", path);
  const body = Buffer.alloc(Math.ceil(record.length / BLOCK) * BLOCK);
  record.copy(body);
  const extended = new Header({
    path: "PaxHeader",
    mode: 0o644,
    uid: 0,
    gid: 0,
    size: record.length,
    mtime: new Date(0),
    type: "ExtendedHeader",
  });
  const before = Buffer.alloc(BLOCK);
  extended.encode(before);
  return Buffer.concat([before, body, block]);
}

/** "LENGTH NAME=VALUE\n", where LENGTH counts itself. */
function paxRecord(name: string, value: string): Buffer {
  const text = Buffer.from(` ${name}=${value}\n`);
  let length = text.length + 1;
  while (String(length).length + text.length !== length) length = String(length).length + text.length;
  return Buffer.concat([Buffer.from(String(length)), text]);
}

/** What travels of a directory, in one order on all machines. */
async function filesOf(root: string, excludes: readonly string[], limits: PackageLimits): Promise<Found[]> {
  const info = await stat(root).catch(() => undefined);
  if (info === undefined || !info.isDirectory())
    throw new RuntimeEnvError(
      `the working directory ${root} ${info === undefined ? "does not exist" : "is no directory"}`,
    );
  const found: Found[] = [];
  let bytes = 0;
  const largest: { path: string; size: number }[] = [];
  const visit = async (
    directory: string,
    above: readonly Rules[],
    parents: ReadonlySet<string>,
  ): Promise<void> => {
    const here = await realpath(join(root, directory));
    if (parents.has(here)) return; // a link to a directory that it lies in
    const own = await rulesOf(root, directory);
    const rules = own === undefined ? above : [...above, own];
    const names = (await readdir(join(root, directory))).sort();
    for (const name of names) {
      if (NEVER.includes(name)) continue;
      const stats = await stat(join(root, directory, name)).catch(() => undefined);
      if (stats === undefined) continue; // a link to nothing
      const isDirectory = stats.isDirectory();
      if (!isDirectory && !stats.isFile()) continue;
      const path = `${directory}${name}${isDirectory ? "/" : ""}`;
      if (isIgnored(path, rules)) continue;
      found.push({ path, stats });
      if (found.length > limits.entriesMax)
        throw tooLarge(root, `more than ${limits.entriesMax} files`, top(largest));
      if (isDirectory) {
        await visit(path, rules, new Set([...parents, here]));
        continue;
      }
      bytes += stats.size;
      largest.push({ path, size: stats.size });
      if (bytes > limits.unpackedBytesMax)
        throw tooLarge(root, `more than ${megabytes(limits.unpackedBytesMax)}`, top(largest));
    }
  };
  await visit("", [{ base: "", rules: ignore().add([...excludes]) }], new Set());
  return found;
}

async function rulesOf(root: string, base: string): Promise<Rules | undefined> {
  const text = await readFile(join(root, base, ".gitignore"), "utf8").catch(() => undefined);
  return text === undefined ? undefined : { base, rules: ignore().add(text) };
}

/** Whether a path is left out: the innermost directory whose rules say anything of it decides. */
function isIgnored(path: string, rules: readonly Rules[]): boolean {
  const [excludes, ...gitignores] = rules as [Rules, ...Rules[]];
  if (excludes.rules.ignores(path)) return true;
  for (const { base, rules: own } of gitignores.reverse()) {
    const { ignored, unignored } = own.test(path.slice(base.length));
    if (ignored || unignored) return ignored;
  }
  return false;
}

function top(files: readonly { path: string; size: number }[]): string {
  const largest = [...files].sort((a, b) => b.size - a.size).slice(0, 3);
  return largest.length === 0
    ? ""
    : ` (largest: ${largest.map(({ path, size }) => `${path} ${megabytes(size)}`).join(", ")})`;
}

function tooLarge(what: string, has: string, largest: string): RuntimeEnvError {
  return new RuntimeEnvError(
    `${what} cannot travel to the nodes: it has ${has}${largest}; leave files out with runtimeEnv.excludes or .gitignore, or name another workingDir`,
  );
}
