/** Packages on the head: uploads in pieces, damage, room, and who keeps what. Through the real service where it matters. */
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { createClient, unary } from "../core/rpc/grpc.ts";
import { HeadServiceClient } from "../core/wire/gen/tsray/v1/head.ts";
import { JobFilesTable } from "./job-files.ts";
import { Packages } from "./packages.ts";
import { TestCluster } from "./test-kit.ts";

const base = mkdtempSync(join(tmpdir(), "tse-packages-"));
afterAll(() => rmSync(base, { recursive: true, force: true }));

let made = 0;
function open(storeBytesMax = 1e9, directory = join(base, String(++made))) {
  const running = new Set<string>();
  const packages = new Packages({
    directory,
    storeBytesMax,
    isRunning: (jobId) => running.has(jobId),
    log: () => {},
  });
  const put = async (bytes: Buffer, jobId = "", hash = sha(bytes), pieceBytes = 1000) => {
    const upload = { hash, jobId, uploadId: String(++made), totalBytes: bytes.length };
    let state = { complete: false, receivedBytes: 0 };
    while (!state.complete) {
      const offset = state.receivedBytes;
      state = await packages.put({ ...upload, offset, data: bytes.subarray(offset, offset + pieceBytes) });
    }
    return hash;
  };
  return { packages, put, running, directory };
}
const sha = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");
const has = async (packages: Packages, hash: string, jobId = "") =>
  (await packages.find({ hash, jobId })).complete;

test("a package comes in pieces and goes in pieces; repeats and gaps change nothing", async () => {
  const { packages, put, directory } = open();
  const bytes = randomBytes(9000);
  const hash = sha(bytes);
  const piece = (offset: number, length: number) =>
    packages.put({
      hash,
      jobId: "",
      uploadId: "u",
      totalBytes: 9000,
      offset,
      data: bytes.subarray(offset, offset + length),
    });
  expect(await piece(0, 4000)).toEqual({ complete: false, receivedBytes: 4000 });
  expect(await piece(0, 4000)).toEqual({ complete: false, receivedBytes: 4000 });
  expect(await piece(8000, 1000)).toEqual({ complete: false, receivedBytes: 4000 });
  expect(await has(packages, hash)).toBe(false);
  // Another sender of the same package is not disturbed by the first, and the first finds it done.
  await put(bytes);
  expect(await piece(4000, 1000)).toEqual({ complete: true, receivedBytes: 9000 });
  const { data, totalBytes } = await packages.get({ hash, offset: 5000 });
  expect([Buffer.compare(data, bytes.subarray(5000)), totalBytes]).toEqual([0, 9000]);
  // A head that starts again has it still; what was half way is gone.
  const next = open(1e9, directory);
  expect(await has(next.packages, hash)).toBe(true);
  expect(readdirSync(directory)).toEqual([hash]);
});

test("damage, wrong pieces and what is too large are refused", async () => {
  const { packages, put, directory } = open();
  const bytes = randomBytes(2000);
  await expect(put(bytes, "", sha(randomBytes(3)))).rejects.toThrow(/damaged on its way/);
  const piece = { hash: sha(bytes), jobId: "", uploadId: "u", offset: 0, totalBytes: 2000, data: bytes };
  await expect(packages.put({ ...piece, hash: "../../evil" })).rejects.toThrow(/that is none/);
  await expect(packages.put({ ...piece, totalBytes: 2 ** 40 })).rejects.toThrow(
    /more than the head takes \(256 MiB\)/,
  );
  await expect(packages.put({ ...piece, totalBytes: 100 })).rejects.toThrow(/beyond the end/);
  await expect(packages.get({ hash: sha(bytes), offset: 0 })).rejects.toThrow(/has no package/);
  expect(readdirSync(directory).filter((name) => !name.startsWith("upload-"))).toEqual([]);
});

test("room is made by last use; what a running job uses stays until the job ends", async () => {
  const { packages, put, running } = open(3000);
  running.add("j");
  const [a, b, c] = [randomBytes(1000), randomBytes(1000), randomBytes(1000)];
  const kept = await put(a, "j");
  const old = await put(b);
  const young = await put(c);
  expect(await has(packages, old)).toBe(true);
  const next = await put(randomBytes(1000));
  expect([await has(packages, kept), await has(packages, young)]).toEqual([true, false]);
  await packages.find({ hash: old, jobId: "j" });
  await packages.find({ hash: next, jobId: "j" });
  await expect(put(randomBytes(1000))).rejects.toThrow(/no room for another package: jobs that run use/);
  running.delete("j");
  packages.jobEnded("j");
  const last = await put(randomBytes(1000));
  expect(await has(packages, last)).toBe(true);
  expect(await has(packages, kept)).toBe(false);
});

test("only who has the cluster's token can put or get packages", async () => {
  const cluster = await TestCluster.start();
  const stranger = createClient(HeadServiceClient, cluster.head.address, "another-token-than-theirs");
  const piece = {
    hash: "0".repeat(64),
    jobId: "",
    uploadId: "u",
    offset: 0,
    totalBytes: 1,
    data: Buffer.from("x"),
  };
  const calls = [
    unary(stranger, stranger.putPackage, piece, 5000),
    unary(stranger, stranger.getPackage, { hash: piece.hash, offset: 0 }, 5000),
    unary(stranger, stranger.findPackage, { hash: piece.hash, jobId: "" }, 5000),
    unary(stranger, stranger.offerJobFiles, { jobId: "j", known: true, environment: "{}", error: "" }, 5000),
    unary(stranger, stranger.watchJobFiles, { jobId: "j", waitMs: 1 }, 5000),
  ];
  const results = await Promise.allSettled(calls);
  expect(
    results.map((each) => (each.status === "rejected" ? (each.reason as Error).name : each.status)),
  ).toEqual(calls.map(() => "AuthenticationError"));
  stranger.close();
  await cluster.stop();
});

test("a job's files are asked for once somebody wants them; an answer that says why not is not kept", async () => {
  const asked: string[] = [];
  const table = new JobFilesTable((jobId) => asked.push(jobId));
  const both = Promise.all([
    table.watch({ jobId: "j", waitMs: 10_000 }),
    table.watch({ jobId: "j", waitMs: 10_000 }),
  ]);
  table.offer({ jobId: "j", known: true, environment: "", error: "too large" });
  expect((await both).map(({ error }) => error)).toEqual(["too large", "too large"]);
  const again = table.watch({ jobId: "j", waitMs: 10_000 });
  table.offer({ jobId: "j", known: true, environment: "{}", error: "" });
  expect((await again).environment).toBe("{}");
  expect((await table.watch({ jobId: "j", waitMs: 0 })).known).toBe(true);
  expect(asked.length).toBe(3);
  expect((await table.watch({ jobId: "other", waitMs: 1 })).known).toBe(false);
});
