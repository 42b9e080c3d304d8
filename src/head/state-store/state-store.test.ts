// Goal: every state store keeps the same contract, and the LMDB one keeps its tables over a restart.
// Method: one list of tests, run over each implementation; LMDB in a directory of its own.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { InvalidOptionError } from "../../core/base/errors.ts";
import { LmdbStateStore } from "./lmdb-state-store.ts";
import { MemoryStateStore } from "./memory-state-store.ts";
import { openStateStore } from "./open-state-store.ts";
import { STATE_KEY_BYTES_MAX, type StateStore } from "./state-store.ts";

const bytes = (text: string) => Buffer.from(text, "utf8");

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "tsray-state-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const kinds: [string, (entriesMax?: number) => Promise<StateStore>][] = [
  ["memory", async (entriesMax = 1000) => new MemoryStateStore({ entriesMax })],
  ["lmdb", (entriesMax = 1000) => LmdbStateStore.open(directory, { entriesMax })],
];

describe.each(kinds)("state store: %s", (_name, make) => {
  let store: StateStore;
  beforeEach(async () => {
    store = await make();
  });
  afterEach(() => store.close());

  test("gives back what was put, by table and key", async () => {
    await store.put("a", "k", bytes("1"));
    await store.put("b", "k", bytes("2"));
    expect(Buffer.from((await store.get("a", "k"))!.value).toString()).toBe("1");
    expect(Buffer.from((await store.get("b", "k"))!.value).toString()).toBe("2");
    expect(await store.get("a", "other")).toBeUndefined();
    expect(await store.get("c", "k")).toBeUndefined();
  });

  test("keeps a copy: the caller's buffer may be reused", async () => {
    const buffer = bytes("one");
    const put = store.put("a", "k", buffer);
    await put;
    buffer.fill(0);
    expect(Buffer.from((await store.get("a", "k"))!.value).toString()).toBe("one");
  });

  test("puts conditionally: only if absent, only over a revision", async () => {
    const first = await store.put("a", "k", bytes("1"), 0);
    expect(first.stored).toBe(true);
    expect(await store.put("a", "k", bytes("2"), 0)).toEqual({ stored: false, revision: first.revision });
    const second = await store.put("a", "k", bytes("2"), first.revision);
    expect(second.stored).toBe(true);
    expect(second.revision).toBeGreaterThan(first.revision);
    expect((await store.put("a", "k", bytes("3"), first.revision)).stored).toBe(false);
    expect((await store.put("a", "none", bytes("3"), 7)).stored).toBe(false);
    expect(Buffer.from((await store.get("a", "k"))!.value).toString()).toBe("2");
  });

  test("lets one of many racing conditional puts win", async () => {
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, i) => store.put("a", "k", bytes(`${i}`), 0)),
    );
    expect(answers.filter((answer) => answer.stored)).toHaveLength(1);
  });

  test("never shows an old revision again after a delete", async () => {
    const first = await store.put("a", "k", bytes("1"));
    expect(await store.delete("a", "k", first.revision + 1)).toBe(false);
    expect(await store.delete("a", "k", first.revision)).toBe(true);
    expect(await store.delete("a", "k")).toBe(false);
    const again = await store.put("a", "k", bytes("1"), 0);
    expect(again.revision).toBeGreaterThan(first.revision);
  });

  test("lists one table by prefix in byte order, NUL and astral characters among the keys", async () => {
    const keys = ["x/b", "x/a", "y", "x/\u0000", "x/\u{1f600}", "x/\uffee", "x", ""];
    for (const key of keys) await store.put("a", key, bytes(key));
    await store.put("ab", "x/a", bytes("other table"));
    expect((await store.list("a", "x/")).map((e) => e.key)).toEqual([
      "x/\u0000",
      "x/a",
      "x/b",
      "x/\uffee",
      "x/\u{1f600}",
    ]);
    expect((await store.list("a")).map((e) => Buffer.from(e.value).toString())).toHaveLength(keys.length);
    expect(await store.keys("a", "x/", 2)).toEqual(["x/\u0000", "x/a"]);
  });

  test("refuses a key that is too long", async () => {
    await expect(store.put("a", "k".repeat(STATE_KEY_BYTES_MAX), bytes("1"))).rejects.toThrow(
      InvalidOptionError,
    );
  });
});

test.each(kinds)("%s refuses one entry too many and takes it after a delete", async (_name, make) => {
  const store = await make(2);
  await store.put("a", "1", bytes("1"));
  await store.put("a", "2", bytes("2"));
  await expect(store.put("a", "3", bytes("3"))).rejects.toThrow("full");
  await store.put("a", "2", bytes("again"));
  await store.delete("a", "1");
  expect((await store.put("a", "3", bytes("3"))).stored).toBe(true);
  await store.close();
});

test("lmdb keeps entries and the count of revisions over a restart", async () => {
  const before = await openStateStore(`lmdb:${directory}/deep/er`);
  const { revision } = await before.put("a", "k", bytes("kept"));
  await before.close();
  const after = await openStateStore(`lmdb:${directory}/deep/er`);
  expect(Buffer.from((await after.get("a", "k"))!.value).toString()).toBe("kept");
  expect((await after.put("a", "k", bytes("new"), revision)).revision).toBe(revision + 1);
  await after.close();
});

test("an unknown kind of store is refused", async () => {
  await expect(openStateStore("etcd://x")).rejects.toThrow(InvalidOptionError);
});
