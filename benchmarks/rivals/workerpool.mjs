// workerpool's rows.

import { measurePool } from "./pool_rows.mjs";
import { call, pool } from "./workerpool_pool.mjs";

await measurePool({ call, map: (name, argsOf) => Promise.all(argsOf.map((args) => pool.exec(name, args))) });
await pool.terminate();
