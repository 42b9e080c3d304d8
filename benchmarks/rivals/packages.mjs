// A rival's package, from where install.mjs has put it.
import { createRequire } from "node:module";

export const rival = createRequire(process.env.BENCH_PACKAGES);
