// piscina in the group "start".
import { idle, ready } from "../start.mjs";

const { call, pool } = await import("./piscina_pool.mjs");
const startedMs = performance.now();
await call();
ready(performance.now() - startedMs);
await idle(() => Promise.all(Array.from({ length: 50 }, call)));
await pool.destroy();
