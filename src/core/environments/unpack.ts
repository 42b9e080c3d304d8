/**
 * An archive as a directory. What it holds was written by somebody else: nothing of it may lie outside the directory, be
 * a link or a device, or be more than its limits.
 */

import { createReadStream } from "node:fs";
import { mkdir } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { type ReadEntry, Unpack } from "tar";
import { RuntimeEnvError } from "../base/errors.ts";
import { LIMITS, megabytes, type PackageLimits } from "./package.ts";

/**
 * Unpacks a gzipped tar into a new directory.
 * @returns bytes of its files
 * @throws RuntimeEnvError for an archive that is broken or holds what none of ours holds; what was unpacked is left there
 */
export async function unpackArchive(
  file: string,
  directory: string,
  limits: PackageLimits = LIMITS,
): Promise<number> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  let bytes = 0;
  let entries = 0;
  let refused: Error | undefined;
  const unpack = new Unpack({
    cwd: directory,
    strict: true,
    preserveOwner: false,
    noMtime: true,
    maxMetaEntrySize: 64 * 1024,
    filter: (_path, entry) => {
      const { path, type, size } = entry as ReadEntry;
      entries += 1;
      bytes += size;
      refused ??= problemOf(path, type, entries, bytes, limits);
      return refused === undefined;
    },
  });
  // Each chunk is looked at before the next one is asked for: an archive that is refused is read no further.
  const gunzip = createGunzip();
  let inflated = 0;
  try {
    await pipeline(createReadStream(file), gunzip, async (source: AsyncIterable<Buffer>) => {
      const done = new Promise<void>((resolve, reject) => {
        unpack.on("close", resolve);
        unpack.on("error", reject);
      });
      done.catch(() => {});
      for await (const chunk of source) {
        inflated += chunk.length;
        // Headers, too, are bounded: each entry has one or two blocks of them beside its own.
        if (inflated > limits.unpackedBytesMax + limits.entriesMax * 2048)
          refused ??= new RuntimeEnvError(`an archive holds more than ${megabytes(limits.unpackedBytesMax)}`);
        if (refused !== undefined) throw refused;
        if (!unpack.write(chunk)) await new Promise<void>((resolve) => unpack.once("drain", () => resolve()));
      }
      unpack.end();
      await done;
      if (refused !== undefined) throw refused;
    });
  } catch (error) {
    if (error instanceof RuntimeEnvError) throw error;
    throw new RuntimeEnvError(`an archive of files is broken: ${(error as Error).message}`, { cause: error });
  }
  return bytes;
}

function problemOf(
  path: string,
  type: string,
  entries: number,
  bytes: number,
  limits: PackageLimits,
): RuntimeEnvError | undefined {
  const refuse = (why: string) => new RuntimeEnvError(`an archive of files was refused: ${why}`);
  const shown = JSON.stringify(path.slice(0, 200));
  if (type !== "File" && type !== "OldFile" && type !== "Directory")
    return refuse(`${shown} is neither file nor directory (${type})`);
  if (
    path === "" ||
    path.startsWith("/") ||
    path.includes("\0") ||
    path.includes("\\") ||
    /^[A-Za-z]:/.test(path)
  )
    return refuse(`${shown} is no path below its directory`);
  if (path.split("/").includes("..")) return refuse(`${shown} leads out of its directory`);
  if (entries > limits.entriesMax) return refuse(`it holds more than ${limits.entriesMax} files`);
  if (bytes > limits.unpackedBytesMax)
    return refuse(`it holds more than ${megabytes(limits.unpackedBytesMax)}`);
  return undefined;
}
