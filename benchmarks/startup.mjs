// Time from init() to the first task's result in a fresh process with an embedded cluster. Prints one number, ms.
import { init, remote, shutdown } from "tsray";

const one = remote(() => 1);
const startedMs = performance.now();
await init({ numCpus: 2 });
await one.remote();
console.log((performance.now() - startedMs).toFixed(1));
await shutdown();
