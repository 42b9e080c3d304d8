/** Where the programs of tsray's other processes lie: the bundles in dist/, beside or above this file's bundle. */
import { existsSync } from "node:fs";

function entry(name: string): URL {
  // This code runs from dist/NAME.js or dist/chunks/*.js, and from src/ under a test runner.
  for (const base of ["./", "../", "../../../dist/"]) {
    const url = new URL(`${base}${name}.js`, import.meta.url);
    if (existsSync(url)) return url;
  }
  return new URL(`./${name}.js`, import.meta.url);
}

/** Program of a worker process. */
export const WORKER_ENTRY: URL = entry("worker");
/** Program of the daemon: a raylet, and on the head node what keeps the head running. */
export const DAEMON_ENTRY: URL = entry("daemon");
/** Program of a head that is a process of its own. */
export const HEAD_ENTRY: URL = entry("head");
/** The command line. */
export const CLI_ENTRY: URL = entry("cli");
/** The driver script behind `tsray microbenchmark`. */
export const MICROBENCHMARK_ENTRY: URL = entry("microbenchmark");
