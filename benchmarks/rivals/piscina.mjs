// piscina's rows.
import { call, pool } from "./piscina_pool.mjs";
import { measurePool } from "./pool_rows.mjs";

await measurePool(call);
await pool.destroy();
