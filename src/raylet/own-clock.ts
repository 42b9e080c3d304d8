/**
 * The clock by which a raylet finds out that it stood still. Decides whether a suspended machine counts: where the head is
 * on another one, it went on meanwhile and has given this node up; a head on the same machine slept as well.
 */
import { hostname, networkInterfaces, uptime } from "node:os";
import { loadNative } from "../core/store/native.ts";

/** @param headAddress "host:port" or "unix:/path" @returns milliseconds since some moment */
export function ownClock(headAddress: string): () => number {
  if (isHere(headAddress)) return () => performance.now();
  const { addon } = loadNative();
  return addon === null ? () => uptime() * 1000 : () => addon.bootMs();
}

/** @internal Whether an address is one of this machine. */
export function isHere(address: string): boolean {
  if (address.startsWith("unix:")) return true;
  const host = address.slice(0, address.lastIndexOf(":")).replace(/^\[|\]$/g, "");
  if (host === "localhost" || host === hostname() || host.startsWith("127.")) return true;
  return Object.values(networkInterfaces()).some((all) => all?.some((own) => own.address === host));
}
