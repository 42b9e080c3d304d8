// Goal: a process whose raylet stands still ends, also in an endless loop, and one that stood still itself does not take the
// raylet's silence in that time for its end. Method: real processes that load the addon, a file that this test writes.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PULSE_BYTES } from "../launch/pulse-file.ts";
import { addonFile, loadNative } from "./native.ts";

const LIMIT_MS = 2000;
const { addon } = loadNative();
let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "tsp-"));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

class Ticker implements Disposable {
  readonly path = join(dir, `pulse-${Math.random()}`);
  readonly #fd = openSync(this.path, "w+");
  readonly #count = Buffer.alloc(PULSE_BYTES);
  #timer: NodeJS.Timeout | undefined;
  constructor() {
    this.start();
  }
  start(): void {
    const tick = () => {
      this.#count.writeBigUInt64LE(this.#count.readBigUInt64LE() + 1n);
      writeSync(this.#fd, this.#count, 0, PULSE_BYTES, 0);
    };
    tick();
    this.#timer = setInterval(tick, 100);
  }
  stop(): void {
    clearInterval(this.#timer);
  }
  [Symbol.dispose](): void {
    this.stop();
    closeSync(this.#fd);
  }
}

const children: ChildProcess[] = [];
afterAll(() => {
  for (const child of children) {
    child.kill("SIGCONT");
    child.kill("SIGKILL");
  }
});

/** A process that watches the file, then runs `then`. */
function watching(path: string, then: string): ChildProcess {
  const script = `
    const { openSync } = require("node:fs");
    require(process.env.ADDON_FILE).watchPulse(openSync(${JSON.stringify(path)}, "r+"), ${LIMIT_MS});
    ${then}`;
  const root = fileURLToPath(new URL("../../..", import.meta.url));
  const child = spawn(process.execPath, ["-e", script], {
    detached: true,
    env: { ...process.env, ADDON_FILE: addonFile(root) },
    stdio: ["ignore", "pipe", "inherit"],
  });
  children.push(child);
  return child;
}

const line = async (child: ChildProcess) =>
  String((await once(child.stdout as NonNullable<ChildProcess["stdout"]>, "data"))[0]);

describe.skipIf(addon === null).concurrent("watchPulse", () => {
  test("ends a process in an endless loop, and what it has started, once the file stands still", async () => {
    using ticker = new Ticker();
    const grandchild = `require("node:child_process").spawn("sleep", ["1000"], { stdio: ["ignore", "inherit", "ignore"] });`;
    const child = watching(ticker.path, `${grandchild} console.log("loops"); for (;;);`);
    // Closes when nobody has it open any more.
    const closed = once(child, "close");
    expect(await line(child)).toBe("loops\n");
    await new Promise((resolve) => setTimeout(resolve, 1.2 * LIMIT_MS));
    expect(child.signalCode).toBe(null);
    ticker.stop();
    expect(await closed).toEqual([null, "SIGKILL"]);
  });

  test("gives the other its whole time again after it stood still itself", async () => {
    using ticker = new Ticker();
    const child = watching(ticker.path, `setInterval(() => console.log("lives"), 50);`);
    await line(child);
    child.kill("SIGSTOP");
    ticker.stop();
    await new Promise((resolve) => setTimeout(resolve, 1.2 * LIMIT_MS));
    child.kill("SIGCONT");
    // What it had written before it stopped, then two words of the one that has woken.
    for (let i = 0; i < 3; i++) await line(child);
    ticker.start();
    await new Promise((resolve) => setTimeout(resolve, 1.2 * LIMIT_MS));
    expect(await line(child)).toContain("lives");
    expect(child.signalCode).toBe(null);
  });

  test("refuses what is no file and no time", () => {
    const native = addon as NonNullable<typeof addon>;
    expect(() => native.watchPulse(1_000_000, 1000)).toThrow(/cannot watch descriptor 1000000/);
    expect(() => native.watchPulse(0, 0)).toThrow(RangeError);
    expect(() => native.watchPulse("x" as unknown as number, 1)).toThrow(TypeError);
  });
});
