// Goal: the raylet makes a store, others attach to it, and destroy leaves no file behind.
// Method: both kinds; the kind without an addon in a child with TSRAY_NO_ADDON=1.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ClusterUnreachableError, InvalidOptionError } from "../base/errors.ts";
import { loadNative } from "./native.ts";
import { attachStore, createStore } from "./open-store.ts";
import { newKey, removeStore, startChild, storePath } from "./store.fixture.ts";

describe("open store", () => {
  let path: string;
  beforeEach(() => {
    path = storePath();
  });
  afterEach(() => {
    removeStore(path);
  });

  test("what one process puts another that attached gets; destroy removes every file", async () => {
    const store = createStore({ path, capacityBytes: 2 ** 20 });
    expect(store.kind).toBe(loadNative().addon === null ? "files" : "arena");
    const attached = attachStore({ path, kind: store.kind });
    const key = newKey();
    store.put(key, 3, [{ offset: 0, bytes: Buffer.from("abc") }]);
    expect(attached.get(key)?.toString()).toBe("abc");
    expect(attached.stats().capacityBytes).toBe(2 ** 20);
    attached.close();
    expect(await store.prefault(0, 2 ** 20)).toBe(store.kind === "arena" ? 2 ** 20 : 0);
    store.destroy();
    expect(removeStore(path)).toEqual([]);
  });

  test.each(["arena", "files"] as const)("attaching to a store of %s that is gone says so", (kind) => {
    expect(() => attachStore({ path, kind })).toThrow(ClusterUnreachableError);
  });

  test.each([0, -1, 1.5, Number.NaN, 2 ** 50])("a capacity of %d is refused", (capacityBytes) => {
    expect(() => createStore({ path, capacityBytes })).toThrow(InvalidOptionError);
    expect(removeStore(path)).toEqual([]);
  });

  test("without the addon stores are files, and an arena cannot be attached to", async () => {
    const child = startChild(
      `const { createStore } = await import(${JSON.stringify(new URL("./open-store.ts", import.meta.url).href)});
      const store = createStore({ path: ${JSON.stringify(path)}, capacityBytes: 2 ** 20 });
      say(store.kind);
      try { attachStore({ path: ${JSON.stringify(path)}, kind: "arena" }); } catch (error) { say(error.code + " " + error.message.split("\\n")[0]); }
      await step();
      store.destroy();`,
      { typescript: true, env: { TSRAY_NO_ADDON: "1" } },
    );
    expect(await child.line()).toBe("files");
    expect(await child.line()).toMatch(/^ERR_TSRAY_CLUSTER_UNREACHABLE .*TSRAY_NO_ADDON=1 is set/);
    const attached = attachStore({ path, kind: "files" });
    attached.put(newKey(), 1, [{ offset: 0, bytes: Buffer.from("x") }]);
    attached.close();
    child.go();
    expect(await child.ended()).toBe(0);
    expect(removeStore(path)).toEqual([]);
  });
});
