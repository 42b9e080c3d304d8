// workerpool in the group "start".
import { idle, ready } from "../start.mjs";

const { call, pool } = await import("./workerpool_pool.mjs");
const startedMs = performance.now();
await call();
ready(performance.now() - startedMs);
await idle(() => Promise.all(Array.from({ length: 50 }, call)));
await pool.terminate();
