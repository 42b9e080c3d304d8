// workerpool's rows.

import { measurePool } from "./pool_rows.mjs";
import { call, pool } from "./workerpool_pool.mjs";

await measurePool(call);
await pool.terminate();
