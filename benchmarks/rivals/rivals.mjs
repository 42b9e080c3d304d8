// Who can be measured beside tsray: how each is installed, and the programs that do its rows.
import { installNode, installPython, installRedis } from "../install.mjs";

/** A pool of workers: one program for all it has rows in, and one for its start. */
const pool = (program, start) => ({
  ...(start && { start }),
  tasks: program,
  efficiency: program,
  jobs: program,
});
const pythonRival = (packages, programs) => ({
  install: () => installPython(packages),
  language: "python",
  programs,
});
const nodeRival = (packages, programs, more = () => ({})) => ({
  install: () => ({ ...installNode(packages), ...more() }),
  language: "node",
  programs,
});

/** The programs of each by group; in the others it has no rows. */
export const RIVALS = {
  ray: pythonRival(["ray==2.58.0", "numpy"], {
    start: "ray_start.py",
    objects: "ray_core.py",
    tasks: "ray_core.py",
    actors: "ray_core.py",
    efficiency: "ray_work.py",
    jobs: "ray_work.py",
    envelope: "ray_envelope.py",
    memory: "ray_envelope.py",
  }),
  piscina: nodeRival(["piscina@5.3.2"], pool("piscina.mjs", "piscina_start.mjs")),
  workerpool: nodeRival(["workerpool@10.0.3"], pool("workerpool.mjs", "workerpool_start.mjs")),
  multiprocessing: pythonRival([], pool("multiprocessing_pool.py", "multiprocessing_start.py")),
  joblib: pythonRival(["joblib==1.6.0"], pool("joblib_loky.py", "joblib_start.py")),
  dask: pythonRival(["dask==2026.8.0"], pool("dask_processes.py", "dask_start.py")),
  distributed: pythonRival(["distributed==2026.8.0"], pool("distributed_cluster.py", "distributed_start.py")),
  bullmq: nodeRival(["bullmq@6.7.0", "ioredis@6.0.0"], pool("bullmq.mjs"), installRedis),
};
