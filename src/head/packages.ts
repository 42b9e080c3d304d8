/**
 * Packages: archives of users' files on the head's disk, named by the SHA-256 of their bytes, on their way from drivers to
 * the nodes that need them.
 *
 * Decides what is kept: what a running job asked for stays; of the rest the one that was used longest ago goes first when
 * room is needed. An upload that stops half way is dropped with its job, or when it has not moved for a while. Knows
 * nothing of what is in a package.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { RuntimeEnvError } from "../core/base/errors.ts";
import { megabytes, PACKAGE_BYTES_MAX, PIECE_BYTES } from "../core/environments/package.ts";
import type {
  PackagePiece,
  PackagePieceRequest,
  PackageRequest,
  PackageState,
} from "../core/wire/gen/tsray/v1/head.ts";

/** Of all packages together. */
const STORE_BYTES_MAX = Number(process.env.TSRAY_PACKAGE_STORE_BYTES) || 4 * 1024 * 1024 * 1024;
const UPLOADS_MAX = 64;
/** An upload that has not moved for so long is given up where another needs its place. */
const UPLOAD_IDLE_MS = 60_000;
const HASH = /^[0-9a-f]{64}$/;

interface Package {
  readonly hash: string;
  readonly bytes: number;
  /** Greater = used later. */
  used: number;
  readonly jobs: Set<string>;
}

interface Upload {
  readonly path: string;
  readonly jobId: string;
  readonly totalBytes: number;
  received: number;
  movedAtMs: number;
  /** Pieces are written one after the other. */
  last: Promise<unknown>;
}

export interface PackagesOptions {
  /** Made when it is first needed. */
  readonly directory: string;
  readonly isRunning: (jobId: string) => boolean;
  readonly log: (line: string) => void;
  readonly storeBytesMax?: number;
}

export class Packages {
  readonly #options: PackagesOptions;
  readonly #bytesMax: number;
  readonly #packages = new Map<string, Package>();
  readonly #uploads = new Map<string, Upload>();
  #loaded: Promise<void> | undefined;
  #uses = 0;

  constructor(options: PackagesOptions) {
    this.#options = options;
    this.#bytesMax = options.storeBytesMax ?? STORE_BYTES_MAX;
  }

  async find({ hash, jobId }: PackageRequest): Promise<PackageState> {
    await this.#load();
    const known = this.#packages.get(hash);
    if (known !== undefined) this.#use(known, jobId);
    return { complete: known !== undefined, receivedBytes: known?.bytes ?? 0 };
  }

  /** @throws RuntimeEnvError for a package that is too large, damaged, or that there is no room for */
  async put({ hash, jobId, uploadId, offset, totalBytes, data }: PackagePiece): Promise<PackageState> {
    await this.#load();
    const known = this.#packages.get(hash);
    if (known !== undefined) {
      this.#use(known, jobId);
      return { complete: true, receivedBytes: known.bytes };
    }
    if (!HASH.test(hash) || uploadId === "" || uploadId.length > 100 || data.length > PIECE_BYTES)
      throw new RuntimeEnvError("the head was sent a piece of a package that is none");
    if (totalBytes > PACKAGE_BYTES_MAX)
      throw new RuntimeEnvError(
        `a package of ${megabytes(totalBytes)} is more than the head takes (${megabytes(PACKAGE_BYTES_MAX)})`,
      );
    const key = `${hash}/${uploadId}`;
    const upload = this.#uploads.get(key) ?? (await this.#begin(key, jobId, totalBytes));
    const written = upload.last.then(() => this.#write(hash, key, upload, offset, data));
    upload.last = written.catch(() => {});
    return written;
  }

  /** @throws RuntimeEnvError when it is not here (any more) */
  async get({ hash, offset }: PackagePieceRequest): Promise<PackagePiece> {
    await this.#load();
    const known = this.#packages.get(hash);
    if (known === undefined)
      throw new RuntimeEnvError(
        `the head has no package ${hash.slice(0, 12)} (any more); make the call again`,
      );
    known.used = ++this.#uses;
    const data = Buffer.alloc(Math.max(0, Math.min(PIECE_BYTES, known.bytes - offset)));
    const file = await open(this.#path(hash));
    try {
      await file.read(data, 0, data.length, offset);
    } finally {
      await file.close();
    }
    return { hash, jobId: "", uploadId: "", offset, totalBytes: known.bytes, data };
  }

  /** Nothing is kept for that job any more. */
  jobEnded(jobId: string): void {
    for (const known of this.#packages.values()) known.jobs.delete(jobId);
    for (const [key, upload] of this.#uploads) if (upload.jobId === jobId) void this.#drop(key, upload);
  }

  async #begin(key: string, jobId: string, totalBytes: number): Promise<Upload> {
    const nowMs = Date.now();
    if (this.#uploads.size >= UPLOADS_MAX) {
      const stuck = [...this.#uploads].find(([, each]) => nowMs - each.movedAtMs > UPLOAD_IDLE_MS);
      if (stuck === undefined)
        throw new RuntimeEnvError(
          `${UPLOADS_MAX} packages are on their way to the head, the most it takes at a time`,
        );
      await this.#drop(...stuck);
    }
    const path = join(this.#options.directory, `upload-${key.replace("/", "-")}`.replace(/[^\w-]/g, "_"));
    const upload: Upload = {
      path,
      jobId,
      totalBytes,
      received: 0,
      movedAtMs: nowMs,
      last: Promise.resolve(),
    };
    const earlier = this.#uploads.get(key);
    if (earlier !== undefined) return earlier;
    this.#uploads.set(key, upload);
    return upload;
  }

  async #write(
    hash: string,
    key: string,
    upload: Upload,
    offset: number,
    data: Buffer,
  ): Promise<PackageState> {
    // A repeat, or a piece that came before one that was lost: the sender goes on from what is here.
    if (offset !== upload.received) return this.#state(hash, upload);
    if (offset + data.length > upload.totalBytes || data.length === 0)
      throw new RuntimeEnvError("the head was sent a piece beyond the end of its package");
    await this.#makeRoom(data.length);
    const file = await open(upload.path, offset === 0 ? "w" : "r+", 0o600);
    try {
      await file.write(data, 0, data.length, offset);
    } finally {
      await file.close();
    }
    upload.received += data.length;
    upload.movedAtMs = Date.now();
    if (upload.received === upload.totalBytes) await this.#complete(hash, key, upload);
    return this.#state(hash, upload);
  }

  #state(hash: string, upload: Upload): PackageState {
    return { complete: this.#packages.has(hash), receivedBytes: upload.received };
  }

  async #complete(hash: string, key: string, upload: Upload): Promise<void> {
    this.#uploads.delete(key);
    if ((await hashOf(upload.path)) !== hash) {
      await rm(upload.path, { force: true });
      throw new RuntimeEnvError("a package was damaged on its way to the head");
    }
    await rename(upload.path, this.#path(hash));
    const known: Package = { hash, bytes: upload.totalBytes, used: 0, jobs: new Set() };
    this.#packages.set(hash, known);
    this.#use(known, upload.jobId);
    this.#options.log(
      `package ${hash.slice(0, 12)} of ${megabytes(known.bytes)} is here, from job ${upload.jobId}`,
    );
  }

  async #drop(key: string, { path }: Upload): Promise<void> {
    this.#uploads.delete(key);
    await rm(path, { force: true });
  }

  async #makeRoom(bytes: number): Promise<void> {
    let used = 0;
    for (const each of this.#packages.values()) used += each.bytes;
    for (const each of this.#uploads.values()) used += each.received;
    const idle = [...this.#packages.values()]
      .filter(({ jobs }) => jobs.size === 0)
      .sort((a, b) => a.used - b.used);
    for (const each of idle) {
      if (used + bytes <= this.#bytesMax) return;
      used -= each.bytes;
      this.#packages.delete(each.hash);
      await rm(this.#path(each.hash), { force: true });
    }
    if (used + bytes > this.#bytesMax)
      throw new RuntimeEnvError(
        `the head has no room for another package: jobs that run use ${megabytes(used)} of ${megabytes(this.#bytesMax)}`,
      );
  }

  #use(known: Package, jobId: string): void {
    known.used = ++this.#uses;
    if (this.#options.isRunning(jobId)) known.jobs.add(jobId);
  }

  /** Packages that an earlier head left; what it had half of is removed. */
  #load(): Promise<void> {
    this.#loaded ??= (async () => {
      const { directory } = this.#options;
      await mkdir(directory, { recursive: true, mode: 0o700 });
      for (const name of await readdir(directory)) {
        const path = join(directory, name);
        if (!HASH.test(name)) {
          await rm(path, { force: true });
          continue;
        }
        const { size } = await stat(path);
        this.#packages.set(name, { hash: name, bytes: size, used: ++this.#uses, jobs: new Set() });
      }
    })();
    return this.#loaded;
  }

  #path(hash: string): string {
    return join(this.#options.directory, hash);
  }
}

async function hashOf(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest("hex");
}
