// BullMQ on a redis of its own on loopback, which ends with this program; 2 worker processes.
// A job's result is awaited by its "completed" event, all through one QueueEvents.
import { fork, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { rival } from "./packages.mjs";
import { measurePool } from "./pool_rows.mjs";

const probe = createServer().listen(0, "127.0.0.1");
await once(probe, "listening");
const { port } = probe.address();
await new Promise((resolve) => probe.close(resolve));
const redis = spawn(
  "redis-server",
  ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
  { stdio: ["ignore", "pipe", "inherit"] },
);
process.on("exit", () => redis.kill());
await new Promise((resolve, reject) => {
  redis.on("error", reject);
  redis.stdout.on("data", (text) => String(text).includes("Ready to accept") && resolve());
});
const connection = { host: "127.0.0.1", port, maxRetriesPerRequest: null };
const workers = Array.from({ length: 2 }, () =>
  fork(new URL("bullmq_worker.mjs", import.meta.url), [String(port)]),
);
process.on("exit", () => workers.forEach((worker) => void worker.kill()));
await Promise.all(
  workers.map(
    (worker) =>
      new Promise((resolve, reject) => {
        worker.once("message", resolve);
        worker.once("exit", (code) => reject(new Error(`a worker ended with code ${code}`)));
      }),
  ),
);

const { Queue, QueueEvents } = rival("bullmq");
const queue = new Queue("bench", { connection });
// Results come by events; jobs go when they are done, or redis would grow without bound.
const events = new QueueEvents("bench", { connection });
await Promise.all([queue.waitUntilReady(), events.waitUntilReady()]);
const waiting = new Map();
const early = new Map();
events.on("completed", ({ jobId, returnvalue }) => {
  const settle = waiting.get(jobId);
  if (settle === undefined) early.set(jobId, returnvalue);
  else {
    waiting.delete(jobId);
    settle(returnvalue);
  }
});
const options = { removeOnComplete: true };
const result = ({ id }) =>
  new Promise((resolve) => {
    if (!early.has(id)) return void waiting.set(id, resolve);
    resolve(early.get(id));
    early.delete(id);
  });
const runAll = async (tasks) => {
  const jobs = await queue.addBulk(tasks.map(({ name, args }) => ({ name, data: { args }, opts: options })));
  return await Promise.all(jobs.map(result));
};
await measurePool({
  call: async () => await result(await queue.add("ok", { args: [] }, options)),
  many: (n) => runAll(Array.from({ length: n }, () => ({ name: "ok", args: [] }))),
  map: (name, argsOf) => runAll(argsOf.map((args) => ({ name, args }))),
});
process.exit();
