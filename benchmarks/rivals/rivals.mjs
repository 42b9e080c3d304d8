// Who can be measured beside tsray: how each is installed, and the programs that do its rows.
import { installNode, installPython, installRedis } from "../install.mjs";

const pythonRival = (packages, program, start) => ({
  install: () => installPython(packages),
  language: "python",
  program,
  start,
});
const nodeRival = (packages, program, start, more = () => ({})) => ({
  install: () => ({ ...installNode(packages), ...more() }),
  language: "node",
  program,
  start,
});

export const RIVALS = {
  ray: pythonRival(["ray==2.58.0", "numpy"], "ray_core.py", "ray_start.py"),
  piscina: nodeRival(["piscina@5.3.2"], "piscina.mjs", "piscina_start.mjs"),
  workerpool: nodeRival(["workerpool@10.0.3"], "workerpool.mjs", "workerpool_start.mjs"),
  multiprocessing: pythonRival([], "multiprocessing_pool.py", "multiprocessing_start.py"),
  joblib: pythonRival(["joblib==1.6.0"], "joblib_loky.py", "joblib_start.py"),
  dask: pythonRival(["dask==2026.8.0"], "dask_processes.py", "dask_start.py"),
  distributed: pythonRival(["distributed==2026.8.0"], "distributed_cluster.py", "distributed_start.py"),
  bullmq: nodeRival(["bullmq@6.7.0", "ioredis@6.0.0"], "bullmq.mjs", undefined, installRedis),
};
