/** Marks in this process's output which task or actor prints, for the raylet to take out again. */
import { currentCall } from "../core/base/call-context.ts";
import { MARK, MARK_END } from "../core/launch/worker-boot.ts";

/** Name under which output outside any call appears: "" is not shown to the driver. */
let ambientName = "";

export function setAmbientName(name: string): void {
  ambientName = name;
}

/** Wraps the two output streams. */
export function markOutput(): void {
  for (const stream of [process.stdout, process.stderr]) {
    // What is written must be in the pipe before the result is: the process may be ended right after.
    (stream as unknown as { _handle?: { setBlocking?(on: boolean): void } })._handle?.setBlocking?.(true);
    let marked = "";
    let atLineStart = true;
    const write = stream.write.bind(stream) as (...args: unknown[]) => boolean;
    stream.write = ((chunk: unknown, ...rest: unknown[]): boolean => {
      const name = currentCall()?.name ?? ambientName;
      if (name !== marked) {
        marked = name;
        write(`${atLineStart ? "" : "\n"}${MARK}${name}${MARK_END}\n`);
      }
      const last =
        typeof chunk === "string" ? chunk.at(-1) : chunk instanceof Uint8Array ? chunk.at(-1) : undefined;
      if (last !== undefined) atLineStart = last === "\n" || last === 10;
      return write(chunk, ...rest);
    }) as typeof stream.write;
  }
}
