/** What a package may be: its bounds, and how large the pieces are in which it goes over the control plane. */

/** Of the archive as it travels and lies on disks. */
export const PACKAGE_BYTES_MAX = 256 * 1024 * 1024;
/** Of all files of an archive together, unpacked. */
export const UNPACKED_BYTES_MAX = 1024 * 1024 * 1024;
/** Files and directories of an archive. */
export const ENTRIES_MAX = 100_000;
/** Below the limit of one gRPC message (16 MiB). */
export const PIECE_BYTES = 4 * 1024 * 1024;

export interface PackageLimits {
  readonly packageBytesMax: number;
  readonly unpackedBytesMax: number;
  readonly entriesMax: number;
}

export const LIMITS: PackageLimits = {
  packageBytesMax: PACKAGE_BYTES_MAX,
  unpackedBytesMax: UNPACKED_BYTES_MAX,
  entriesMax: ENTRIES_MAX,
};

/** An archive ready to travel. */
export interface PackedFiles {
  /** SHA-256 of the bytes, in hex. */
  readonly hash: string;
  readonly bytes: Buffer;
}

export function megabytes(bytes: number): string {
  return `${(bytes / (1024 * 1024)).toFixed(bytes < 10 * 1024 * 1024 ? 1 : 0)} MiB`;
}
