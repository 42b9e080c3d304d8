// A BullMQ worker process.
import { rival } from "./packages.mjs";

const { Worker } = rival("bullmq");
const worker = new Worker("bench", async () => "ok", {
  connection: { host: "127.0.0.1", port: Number(process.argv[2]), maxRetriesPerRequest: null },
  concurrency: 100,
});
await worker.waitUntilReady();
process.send("ready");
