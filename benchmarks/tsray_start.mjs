// Ours in the group "start": init() and the first task's result in a fresh process, idle with 2 workers, and all of it again.
import { init, remote, shutdown } from "tsray";
import { again, idle, ready } from "./start.mjs";

const startedMs = performance.now();
const one = remote(() => 1);
await init({ address: "local", numCpus: 2 });
if ((await one.remote()) !== 1) throw new Error("wrong result");
ready(performance.now() - startedMs);
await idle(() => Promise.all(Array.from({ length: 50 }, () => one.remote())));
await shutdown();
if (process.argv.includes("again")) {
  const againMs = performance.now();
  await init({ address: "local", numCpus: 2 });
  if ((await one.remote()) !== 1) throw new Error("wrong result");
  again(performance.now() - againMs);
  await shutdown();
}
