/**
 * Faults that tests provoke: what a network does to chunks now and then, at a moment of the test's choosing. The raylet
 * reads TSRAY_TEST_TRANSFER once, when it starts.
 *
 *   damage:<n>        the first n chunks that this raylet sends arrive damaged
 *   hold:<n>:<file>   at the n-th chunk of an object it writes its node's id to the file and sends no more; where the file
 *                     exists already, it goes on (so of several raylets one holds)
 *   gather:<n>:<file> the raylet that is the first to write the file sends nothing before it has been asked n times
 */
import { writeFileSync } from "node:fs";

export interface TransferFaults {
  /** A node has asked for an object. */
  onAsked(): void;
  /** The `nth` chunk of an object (from 1) is about to leave. @returns the bytes to send in its place; a promise holds it back, for good if it never settles */
  onSend(bytes: Uint8Array, nth: number): Uint8Array | Promise<Uint8Array>;
}

export function transferFaults(
  nodeId: string,
  spec = process.env.TSRAY_TEST_TRANSFER,
): TransferFaults | undefined {
  if (spec === undefined || spec === "") return undefined;
  const [kind, count, file] = spec.split(":");
  let sent = 0;
  let missing = kind === "gather" ? Number(count) : 0;
  let gathers = false;
  let goOn = () => {};
  const gathered = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  return {
    onAsked() {
      missing -= 1;
      if (missing === 0) goOn();
    },
    onSend(bytes, nth) {
      sent += 1;
      if (kind === "damage" && sent <= Number(count)) {
        const damaged = Uint8Array.from(bytes);
        damaged[damaged.length >> 1] = (damaged[damaged.length >> 1] as number) ^ 1;
        return damaged;
      }
      if (kind === "hold" && nth === Number(count) && file !== undefined && writeFirst(file, nodeId))
        return new Promise<never>(() => {});
      gathers ||= kind === "gather" && file !== undefined && writeFirst(file, nodeId);
      return gathers ? gathered.then(() => bytes) : bytes;
    },
  };
}

function writeFirst(file: string, text: string): boolean {
  try {
    writeFileSync(file, text, { flag: "wx" });
    return true;
  } catch {
    return false;
  }
}
