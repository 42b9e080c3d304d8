// A BullMQ worker process.
import * as functions from "../work/functions.mjs";
import { rival } from "./packages.mjs";

const { Worker } = rival("bullmq");
const work = { ...functions };
const worker = new Worker("bench", async ({ name, data }) => work[name](...data.args), {
  connection: { host: "127.0.0.1", port: Number(process.argv[2]), maxRetriesPerRequest: null },
  concurrency: 100,
});
await worker.waitUntilReady();
process.send("ready");
