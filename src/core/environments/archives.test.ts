/** Archives of users' files: what is packed, what is refused on the way back. */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { Header, type HeaderData } from "tar";
import { afterAll, describe, expect, test } from "vitest";
import { packDirectory } from "./pack.ts";
import { LIMITS } from "./package.ts";
import { unpackArchive } from "./unpack.ts";

const base = mkdtempSync(join(tmpdir(), "tse-archives-"));
afterAll(() => rmSync(base, { recursive: true, force: true }));
let made = 0;
const fresh = () => join(base, String(++made));

function project(files: Readonly<Record<string, string | Buffer>>): string {
  const root = fresh();
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  return root;
}

async function unpacked(bytes: Buffer, limits = LIMITS): Promise<string> {
  const file = fresh();
  const directory = fresh();
  writeFileSync(file, bytes);
  await unpackArchive(file, directory, limits);
  return directory;
}

const listing = (directory: string) => readdirSync(directory, { recursive: true, encoding: "utf8" }).sort();

/** An archive as nobody of ours writes one. */
function archiveOf(...entries: readonly (Partial<HeaderData> & { readonly body?: string })[]): Buffer {
  const blocks = entries.flatMap(({ body = "", ...data }) => {
    const block = Buffer.alloc(512);
    new Header({
      mode: 0o644,
      uid: 0,
      gid: 0,
      mtime: new Date(0),
      type: "File",
      size: body.length,
      ...data,
    }).encode(block);
    const padded = Buffer.alloc(Math.ceil(body.length / 512) * 512);
    padded.write(body);
    return [block, padded];
  });
  return gzipSync(Buffer.concat([...blocks, Buffer.alloc(1024)]));
}

describe("packing", () => {
  test("files come back as they were: contents, nesting, long names, executables, empty directories", async () => {
    const long = `${"deep/".repeat(40)}${"name".repeat(30)}.txt`;
    const root = project({
      "a.txt": "a",
      "dir/ä ö.bin": Buffer.from([0, 255, 1]),
      [long]: "long",
      "run.sh": "#!/bin/sh",
    });
    chmodSync(join(root, "run.sh"), 0o755);
    mkdirSync(join(root, "empty"));
    const { bytes, hash } = await packDirectory(root);
    const copy = await unpacked(bytes);
    expect(listing(copy)).toEqual(listing(root));
    expect(readFileSync(join(copy, "dir/ä ö.bin"))).toEqual(Buffer.from([0, 255, 1]));
    expect(readFileSync(join(copy, long), "utf8")).toBe("long");
    expect(statSync(join(copy, "run.sh")).mode & 0o100).toBe(0o100);
    expect(statSync(join(copy, "a.txt")).mode & 0o100).toBe(0);
    // Any tar reads it, and equal files make the same package wherever and whenever they were written.
    execFileSync("tar", ["-tzf", "-"], { input: bytes });
    const same = await packDirectory(copy);
    expect(same.hash).toBe(hash);
    writeFileSync(join(copy, "a.txt"), "b");
    expect((await packDirectory(copy)).hash).not.toBe(hash);
  });

  test("leaves out node_modules, .git, what .gitignore files say, and excludes", async () => {
    const root = project({
      ".gitignore": "*.log\n/dist\nsecret/\n!important.log\n",
      "main.ts": "",
      "x.log": "",
      "important.log": "",
      "dist/out.js": "",
      "sub/dist/kept.js": "",
      "sub/.gitignore": "local.txt\n!y.log\n",
      "sub/local.txt": "",
      "sub/y.log": "",
      "local.txt": "",
      "secret/key": "",
      "node_modules/a/index.js": "",
      "sub/node_modules/b/index.js": "",
      ".git/HEAD": "",
      "data/big.bin": "",
      "data/small.json": "",
    });
    const copy = await unpacked((await packDirectory(root, ["data/*.bin", "important.log"])).bytes);
    expect(listing(copy).filter((name) => statSync(join(copy, name)).isFile())).toEqual([
      ".gitignore",
      "data/small.json",
      "local.txt",
      "main.ts",
      "sub/.gitignore",
      "sub/dist/kept.js",
      "sub/y.log",
    ]);
  });

  test("links travel as what they point to; circles, dangling links and sockets do not", async () => {
    const root = project({ "real/a.txt": "a" });
    writeFileSync(join(base, "outside.txt"), "outside");
    symlinkSync("real", join(root, "linked"));
    symlinkSync("..", join(root, "real/up"));
    symlinkSync("nowhere", join(root, "dangling"));
    symlinkSync(join(base, "outside.txt"), join(root, "outside.txt"));
    execFileSync("mkfifo", [join(root, "fifo")]);
    const copy = await unpacked((await packDirectory(root)).bytes);
    expect(listing(copy)).toEqual([
      "linked",
      "linked/a.txt",
      "linked/up",
      "outside.txt",
      "real",
      "real/a.txt",
      "real/up",
    ]);
    expect(lstatSync(join(copy, "linked")).isDirectory()).toBe(true);
    expect(readFileSync(join(copy, "outside.txt"), "utf8")).toBe("outside");
  });

  test("says what is too much, and of what", async () => {
    const root = project({ "a.bin": Buffer.alloc(3000, 1), "b/c.bin": Buffer.alloc(5000, 2), "d.txt": "d" });
    await expect(packDirectory(root, [], { ...LIMITS, entriesMax: 2 })).rejects.toThrow(
      /has more than 2 files/,
    );
    await expect(packDirectory(root, [], { ...LIMITS, unpackedBytesMax: 4000 })).rejects.toThrow(
      /cannot travel to the nodes: it has more than 0\.0 MiB \(largest: b\/c\.bin 0\.0 MiB, a\.bin .*runtimeEnv\.excludes/,
    );
    await expect(packDirectory(root, [], { ...LIMITS, packageBytesMax: 50 })).rejects.toThrow(
      /an archive of more than/,
    );
    await expect(packDirectory(join(root, "none"))).rejects.toThrow(/none does not exist/);
    await expect(packDirectory(join(root, "d.txt"))).rejects.toThrow(/d\.txt is no directory/);
  });
});

describe("unpacking what somebody else wrote", () => {
  const file = { path: "ok.txt", body: "ok" };

  test.each<[string, Partial<HeaderData> & { body?: string }, RegExp]>([
    ["an absolute path", { path: "/tmp/tse-evil", body: "x" }, /no path below its directory/],
    ["a path that leads out", { path: "a/../../evil", body: "x" }, /leads out of its directory/],
    ["a path that begins above", { path: "../evil", body: "x" }, /leads out of its directory/],
    ["a path of Windows", { path: "..\\evil", body: "x" }, /no path below its directory/],
    ["a drive", { path: "C:/evil", body: "x" }, /no path below its directory/],
    [
      "a symbolic link",
      { path: "link", type: "SymbolicLink", linkpath: "/etc" },
      /neither file nor directory \(SymbolicLink\)/,
    ],
    [
      "a hard link",
      { path: "link", type: "Link", linkpath: "ok.txt" },
      /neither file nor directory \(Link\)/,
    ],
    [
      "a character device",
      { path: "null", type: "CharacterDevice", devmaj: 1, devmin: 3 },
      /neither file nor directory/,
    ],
    [
      "a block device",
      { path: "disk", type: "BlockDevice", devmaj: 8, devmin: 0 },
      /neither file nor directory/,
    ],
    ["a named pipe", { path: "pipe", type: "FIFO" }, /neither file nor directory/],
  ])("%s is refused, and nothing of it is there", async (_, entry, message) => {
    const archive = fresh();
    const directory = join(fresh(), "inner");
    writeFileSync(archive, archiveOf(file, entry, { path: "after.txt", body: "x" }));
    await expect(unpackArchive(archive, directory)).rejects.toThrow(message);
    expect(existsSync(join(directory, "after.txt"))).toBe(false);
    expect(existsSync("/tmp/tse-evil")).toBe(false);
    expect(listing(dirname(directory)).filter((name) => !/^inner(\/ok\.txt)?$/.test(name))).toEqual([]);
  });

  test("a link and then a file through it", async () => {
    const target = fresh();
    mkdirSync(target);
    const bytes = archiveOf(
      { path: "d", type: "SymbolicLink", linkpath: target },
      { path: "d/evil", body: "x" },
    );
    await expect(unpacked(bytes)).rejects.toThrow(/neither file nor directory/);
    expect(listing(target)).toEqual([]);
  });

  test("too many entries, too many bytes, and bytes that gzip hides", async () => {
    const many = archiveOf(...Array.from({ length: 20 }, (_, i) => ({ path: `f${i}` })));
    await expect(unpacked(many, { ...LIMITS, entriesMax: 10 })).rejects.toThrow(/more than 10 files/);
    const large = archiveOf({ path: "a", body: "x".repeat(5000) });
    await expect(unpacked(large, { ...LIMITS, unpackedBytesMax: 4000 })).rejects.toThrow(/holds more than/);
    // 64 MiB of zeros in 64 KiB: read no further than the limits allow.
    const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024));
    await expect(unpacked(bomb, { ...LIMITS, unpackedBytesMax: 1e6, entriesMax: 10 })).rejects.toThrow(
      /holds more than|is broken/,
    );
  });

  test("what is no archive, or half of one", async () => {
    await expect(unpacked(Buffer.from("no archive at all"))).rejects.toThrow(/is broken/);
    await expect(
      unpacked(gzipSync(Buffer.from("no tar, but long enough to be a block".repeat(50)))),
    ).rejects.toThrow(/is broken|was refused/);
    const whole = archiveOf({ path: "a", body: "x".repeat(100_000) });
    await expect(unpacked(whole.subarray(0, whole.length / 2))).rejects.toThrow(/is broken/);
  });
});
