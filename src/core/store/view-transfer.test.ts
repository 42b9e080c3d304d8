// Goal: a view of an object goes to another thread without a copy, and its memory lives exactly as long as somebody has it.
// Method: real worker threads, views sent both ways with a transfer list; the arena's pins say who still has what.
import { Worker } from "node:worker_threads";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { loadNative, type NativeAddon, type NativeArena } from "./native.ts";
import { ADDON_FILE, collectGarbage, newKey, removeStore, storePath } from "./store.fixture.ts";

const { addon, reason } = loadNative();
const MIB = 2 ** 20;

describe.skipIf(!addon?.transferableViews)(`views between threads ${reason ?? ""}`, () => {
  const Arena = addon?.Arena as NativeAddon["Arena"];
  let path: string;
  let arena: NativeArena;
  let worker: Worker | undefined;

  beforeEach(() => {
    path = storePath();
    arena = Arena.create(path, 16 * MIB);
  });
  afterEach(async () => {
    await worker?.terminate();
    worker = undefined;
    arena.close();
    removeStore(path);
  });

  function putObject(): Uint8Array {
    const key = newKey();
    arena.put(key, MIB, [0], [new Uint8Array(MIB).fill(7)], false);
    return key;
  }

  function startWorker(
    body: string,
    workerData: object = {},
  ): (message?: unknown, transfer?: ArrayBuffer[]) => Promise<unknown> {
    const started = new Worker(`const { workerData, parentPort } = require("node:worker_threads"); ${body}`, {
      eval: true,
      workerData: { addon: ADDON_FILE, path, ...workerData },
    });
    worker = started;
    return (message, transfer = []) =>
      new Promise((resolve, reject) => {
        started.once("message", resolve).once("error", reject);
        if (message !== undefined) started.postMessage(message, transfer);
      });
  }

  /** In a function of its own, so that nothing on the stack keeps the view. */
  async function send(ask: ReturnType<typeof startWorker>, key: Uint8Array): Promise<unknown> {
    const view = arena.get(key) as Buffer;
    const answer = ask(view, [view.buffer as ArrayBuffer]);
    expect(view.byteLength).toBe(0);
    return await answer;
  }

  test("a transferred view is empty here and whole there; its pin goes when the other thread drops it", async () => {
    const key = putObject();
    const ask = startWorker(`
      let held;
      parentPort.on("message", (message) => {
        if (message === "sum") return parentPort.postMessage(held.reduce((sum, byte) => sum + byte, 0));
        held = message;
        held[0] = 8;
        parentPort.postMessage(held.byteLength);
      });`);
    expect(await send(ask, key)).toBe(MIB);
    await collectGarbage();
    Arena.sweep();
    await collectGarbage();
    expect(arena.stats().pinnedObjects).toBe(1);
    expect(Arena.viewsElsewhere()).toBe(1);
    expect(await ask("sum")).toBe(7 * MIB + 1);
    expect(arena.get(key)?.[0]).toBe(7);
    await worker?.terminate();
    await expect
      .poll(async () => {
        await collectGarbage();
        Arena.sweep();
        return arena.stats().pinnedObjects;
      })
      .toBe(0);
    expect(Arena.viewsElsewhere()).toBe(0);
    expect(arena.check()).toBeNull();
  });

  test("structuredClone moves a view within a thread; release() is for who has it", async () => {
    const key = putObject();
    const view = arena.get(key) as Buffer;
    const moved = structuredClone(view, { transfer: [view.buffer as ArrayBuffer] });
    expect(view.byteLength).toBe(0);
    expect(Arena.release(view)).toBe(false);
    expect(moved.every((byte) => byte === 7)).toBe(true);
    expect(Arena.release(moved)).toBe(true);
    expect(moved.byteLength).toBe(0);
    expect(arena.stats().pinnedObjects).toBe(0);
  });

  test("a view that a thread sent away outlives that thread", async () => {
    const key = putObject();
    const ask = startWorker(
      `const { Arena } = require(workerData.addon);
      const view = Arena.open(workerData.path).get(workerData.key);
      const kept = Arena.open(workerData.path).get(workerData.key);
      parentPort.on("message", () => parentPort.postMessage(view, [view.buffer]));`,
      { key },
    );
    const view = (await ask("send")) as Uint8Array;
    await worker?.terminate();
    await collectGarbage();
    expect(view.every((byte) => byte === 7)).toBe(true);
    arena.delete(key);
    expect(view.every((byte) => byte === 7)).toBe(true);
  });
});
