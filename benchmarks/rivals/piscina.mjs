// piscina's rows.
import { call, pool } from "./piscina_pool.mjs";
import { measurePool } from "./pool_rows.mjs";

await measurePool({
  call,
  map: (name, argsOf) => Promise.all(argsOf.map((args) => pool.run(args, { name }))),
});
await pool.destroy();
