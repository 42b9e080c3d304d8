// Ours in the group "start": init() and the first task's result in a fresh process, then idle with 2 workers.
import { init, remote, shutdown } from "tsray";
import { idle, ready } from "./start.mjs";

const startedMs = performance.now();
const one = remote(() => 1);
await init({ address: "local", numCpus: 2 });
if ((await one.remote()) !== 1) throw new Error("wrong result");
ready(performance.now() - startedMs);
await idle(() => Promise.all(Array.from({ length: 50 }, () => one.remote())));
await shutdown();
