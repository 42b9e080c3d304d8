/** A package from the head's disk to this node's, whole and undamaged. */
import { createHash } from "node:crypto";
import { open, rm } from "node:fs/promises";
import { RuntimeEnvError } from "../../core/base/errors.ts";
import { PACKAGE_BYTES_MAX } from "../../core/environments/package.ts";

export type GetPiece = (
  hash: string,
  offset: number,
) => Promise<{ readonly data: Buffer; readonly totalBytes: number }>;

/** @throws RuntimeEnvError when the head has it no more, or what came is not what was asked for */
export async function download(hash: string, file: string, getPiece: GetPiece): Promise<void> {
  const digest = createHash("sha256");
  const out = await open(file, "w", 0o600);
  try {
    for (let offset = 0, total = 1; offset < total; ) {
      const { data, totalBytes } = await getPiece(hash, offset);
      if (data.length === 0 || totalBytes > PACKAGE_BYTES_MAX)
        throw new RuntimeEnvError(`package ${hash.slice(0, 12)} of files came broken from the head`);
      digest.update(data);
      await out.write(data, 0, data.length, offset);
      offset += data.length;
      total = totalBytes;
    }
  } catch (error) {
    await rm(file, { force: true });
    throw error;
  } finally {
    await out.close();
  }
  if (digest.digest("hex") === hash) return;
  await rm(file, { force: true });
  throw new RuntimeEnvError(`package ${hash.slice(0, 12)} of files was damaged on its way from the head`);
}
