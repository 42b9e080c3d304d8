// A piscina pool with 2 threads and its defaults else.
import { rival } from "./packages.mjs";

const { Piscina } = rival("piscina");
export const pool = new Piscina({
  filename: new URL("pool_worker.mjs", import.meta.url).href,
  minThreads: 2,
  maxThreads: 2,
});
export const call = () => pool.run(undefined);
