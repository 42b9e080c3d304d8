// What the failpoint run has at the head: actors that write down each life they begin. Workers import this module too.
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { getRuntimeContext, remote } from "tsray";

/** Whether the process runs; a zombie does not. @param {number} pid */
export function isRunning(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2)[0] !== "Z";
  } catch {
    return false;
  }
}

/** All lives so far. @param {string} file */
export function livesIn(file) {
  const lines = existsSync(file) ? readFileSync(file, "utf8").split("\n").slice(0, -1) : [];
  return lines.map((line) => {
    const [actorId = "", life, pid] = line.split(" ");
    return { actorId, life: Number(life), pid: Number(pid) };
  });
}

export const Life = remote(
  class Life {
    _together;
    constructor(/** @type {string} */ file) {
      const { actorId = "", restartCount } = getRuntimeContext();
      // Of one actor only one may live, and each of its lives begins once.
      this._together = livesIn(file).filter(
        (other) => other.actorId === actorId && (other.life >= restartCount || isRunning(other.pid)),
      );
      const double = this._together.length > 0 ? " double" : "";
      appendFileSync(file, `${actorId} ${restartCount} ${process.pid}${double}\n`);
    }
    ping(/** @type {number} */ n) {
      return n;
    }
    pid() {
      return process.pid;
    }
  },
  { numCpus: 0.1 },
);
