// A workerpool with 2 child processes, as tsray's workers are; its other defaults.
import { fileURLToPath } from "node:url";
import { rival } from "./packages.mjs";

export const pool = rival("workerpool").pool(
  fileURLToPath(new URL("workerpool_worker.mjs", import.meta.url)),
  {
    minWorkers: 2,
    maxWorkers: 2,
    workerType: "process",
  },
);
export const call = () => pool.exec("ok");
