/** Directories that many use: made once, kept while used, collected by last use, never half made. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { DirectoryCache } from "./cache.ts";

const base = mkdtempSync(join(tmpdir(), "tse-cache-"));
afterAll(() => rmSync(base, { recursive: true, force: true }));
let caches = 0;
const cacheOf = (bytes: number) => new DirectoryCache(join(base, String(++caches)), bytes, () => {});

const make = (bytes: number) => async (path: string) => {
  mkdirSync(path);
  writeFileSync(join(path, "data"), "x");
  return { bytes };
};
const turn = () => new Promise((resolve) => setImmediate(resolve));

test("is made once, however many ask", async () => {
  const cache = cacheOf(100);
  let made = 0;
  const slow = async (path: string) => {
    made += 1;
    await turn();
    return make(10)(path);
  };
  const holds = await Promise.all(Array.from({ length: 5 }, () => cache.hold("a", slow)));
  expect(new Set(holds.map(({ path }) => path)).size).toBe(1);
  expect([made, cache.bytes]).toEqual([1, 10]);
});

test("what is used stays, whatever its size; of the rest the longest unused goes first", async () => {
  const cache = cacheOf(100);
  const used = await cache.hold("used", make(90));
  const old = await cache.hold("old", make(20));
  const young = await cache.hold("young", make(20));
  await turn();
  expect(cache.bytes).toBe(130);
  old.letGo();
  old.letGo();
  expect(cache.bytes).toBe(110);
  young.letGo();
  expect(cache.bytes).toBe(90);
  expect(existsSync(used.path)).toBe(true);
  const third = await cache.hold("third", make(5));
  const again = await cache.hold("old", make(5));
  expect(again.path).not.toBe(old.path);
  for (const hold of [used, third, again]) hold.letGo();
  await turn();
  expect(cache.bytes).toBe(100);
  const last = await cache.hold("last", make(1));
  last.letGo();
  await turn();
  expect(cache.bytes).toBe(11);
});

test("what another needs goes after it", async () => {
  const cache = cacheOf(50);
  const inner = await cache.hold("inner", make(40));
  const outer = await cache.hold("outer", async (path) => ({ ...(await make(40)(path)), needs: [inner] }));
  await turn();
  expect(cache.bytes).toBe(80);
  outer.letGo();
  await turn();
  expect(cache.bytes).toBe(40);
  expect(existsSync(inner.path)).toBe(true);
});

test("a making that fails reaches all who wait, leaves nothing, and is tried again", async () => {
  const cache = cacheOf(100);
  const fail = async (path: string) => {
    mkdirSync(path);
    await turn();
    throw new Error("no network");
  };
  const results = await Promise.allSettled([cache.hold("a", fail), cache.hold("a", fail)]);
  expect(results.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  expect(readdirSync(cache.root)).toEqual([]);
  expect(existsSync((await cache.hold("a", make(1))).path)).toBe(true);
});
