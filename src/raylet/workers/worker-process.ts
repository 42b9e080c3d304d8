/** One worker process: how it is started, what it prints, how it ends. Knows nothing of leases. */
import { type ChildProcess, spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import type { Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { WORKER_ENTRY } from "../../core/launch/entries.ts";
import type { WorkerBoot } from "../../core/launch/worker-boot.ts";
import type { JobConfigRecord } from "../../core/rpc/messages.ts";
import type { MemoryReport } from "../memory/monitor.ts";
import { BegunPage } from "./begun-page.ts";
import { WORKER_MARK } from "./escapees.ts";
import type { LogFile } from "./log-file.ts";
import { type OutputLine, OutputReader } from "./output.ts";

/** After the process has ended, its pipes may stay open in processes it left behind; they are killed, then this long. */
const DRAIN_MS = 200;

export interface WorkerEnd {
  readonly exitCode: number | null;
  readonly signal: string;
  readonly stderrTail: string;
  /** What V8 said when it gave up (its heap is exhausted), or "". */
  readonly fatalError: string;
  /** Runs that had begun, by the owner's process id; undefined: not known. */
  readonly begun: ReadonlyMap<string, number> | undefined;
  /** Set when this node or the kernel ended it for want of memory. */
  readonly outOfMemory: MemoryReport | undefined;
}

/** What the process is started with. */
export interface WorkerStart {
  readonly cwd: string;
  readonly execArgv: readonly string[];
  /** Added to the raylet's own. */
  readonly envVars: Readonly<Record<string, string>>;
}

export interface WorkerProcessEvents {
  onLine(line: OutputLine): void;
  /** It is about to be killed. */
  onKill(): void;
  /** It ended by SIGKILL: the report, if the kernel did it for want of memory. */
  onKilled(pid: number): MemoryReport | undefined;
  onEnd(end: WorkerEnd): void;
}

export class WorkerProcess {
  readonly workerId: string;
  readonly pid: number;
  readonly job: JobConfigRecord;
  readonly startedAtMs = Date.now();
  /** Resolves when the process has ended and its output is read. */
  readonly over: Promise<void>;
  readonly #child: ChildProcess;
  readonly #err: OutputReader;
  readonly #begun = BegunPage.make();
  readonly #onKill: () => void;
  #outOfMemory: MemoryReport | undefined;
  #ended = false;

  constructor(boot: WorkerBoot, start: WorkerStart, log: LogFile, events: WorkerProcessEvents) {
    this.workerId = boot.workerId;
    this.#onKill = events.onKill;
    this.job = boot.job;
    const env: NodeJS.ProcessEnv = { ...process.env, ...start.envVars };
    // A token or an address in the environment is the driver's business, not that of code which runs in workers.
    for (const name of ["TSRAY_TOKEN_FILE", "TSRAY_ADDRESS", "NODE_CHANNEL_FD"]) {
      if (start.envVars[name] === undefined) delete env[name];
    }
    env[WORKER_MARK] = boot.workerId;
    this.#child = spawn(process.execPath, [...start.execArgv, fileURLToPath(WORKER_ENTRY)], {
      cwd: start.cwd,
      env,
      // Its own session and process group: what it starts can be ended with it, and Ctrl-C does not reach it.
      detached: true,
      stdio: ["ignore", "pipe", "pipe", "pipe", this.#begun?.fd ?? "ignore"],
    });
    this.pid = this.#child.pid ?? 0;
    preferForOomKill(this.pid);
    const config = this.#child.stdio[3] as Writable;
    config.on("error", () => {});
    config.end(`${JSON.stringify(boot)}\n`);

    const onLine = (line: OutputLine) => {
      log.write(line);
      events.onLine(line);
    };
    const out = new OutputReader(false, onLine);
    this.#err = new OutputReader(true, onLine);
    this.#child.stdout?.on("data", (chunk: Buffer) => out.push(chunk));
    this.#child.stderr?.on("data", (chunk: Buffer) => this.#err.push(chunk));

    let settle = () => {};
    this.over = new Promise((resolve) => {
      settle = resolve;
    });
    const end = (exitCode: number | null, signal: string) => {
      if (this.#ended) return;
      this.#ended = true;
      out.end();
      this.#err.end();
      config.destroy();
      this.#child.stdout?.destroy();
      this.#child.stderr?.destroy();
      log.close();
      const begun = this.#begun?.read();
      this.#begun?.close();
      const { tail: stderrTail, fatalError } = this.#err;
      events.onEnd({ exitCode, signal, stderrTail, fatalError, begun, outOfMemory: this.#outOfMemory });
      settle();
    };
    this.#child.on("error", (error) => {
      this.#err.push(Buffer.from(`the worker process could not be started: ${error.message}\n`));
      end(null, "");
    });
    this.#child.on("exit", (code, signal) => {
      // Also after kill(): its owner asks for that when its channel breaks, which may be before this.
      if (signal === "SIGKILL") this.#outOfMemory ??= events.onKilled(this.pid);
      this.#killGroup();
      const timer = setTimeout(() => end(code, signal ?? ""), DRAIN_MS);
      this.#child.on("close", () => {
        clearTimeout(timer);
        end(code, signal ?? "");
      });
    });
  }

  /** How many runs it has begun so far, for whomever. */
  get runsBegun(): number {
    let runs = 0;
    if (!this.#ended) for (const begun of this.#begun?.read().values() ?? []) runs += begun;
    return runs;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Ends the process and everything in its group, now. */
  kill(): void {
    if (this.#ended) return;
    this.#onKill();
    this.#child.kill("SIGKILL");
    this.#killGroup();
  }

  /** As {@link kill}, because memory is short: its end carries the report. */
  killForMemory(report: MemoryReport): void {
    this.#outOfMemory ??= report;
    this.kill();
  }

  #killGroup(): void {
    if (this.pid === 0) return;
    try {
      process.kill(-this.pid, "SIGKILL");
    } catch {
      // The group is empty already.
    }
  }
}

/** How it ended, for people, as what follows "process 12". */
export function describeEnd({ exitCode, signal, stderrTail, fatalError, outOfMemory }: WorkerEnd): string {
  if (outOfMemory !== undefined) return `was ended, since memory was short: ${outOfMemory.text}`;
  const how = signal !== "" ? `was killed by ${signal}` : `exited with code ${exitCode}`;
  const heap =
    fatalError === ""
      ? ""
      : `: ${fatalError} (the JavaScript heap has a limit of its own: node --max-old-space-size=MEGABYTES at the driver, whose flags workers inherit)`;
  const tail =
    stderrTail === "" ? "" : `\n  last output on its stderr:\n${stderrTail.replace(/^/gm, "    ")}`;
  return `${how}${heap}${tail}`;
}

/** The kernel's own choice when memory is gone: a worker before any daemon. Raising the score is always permitted. */
function preferForOomKill(pid: number): void {
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, "1000");
  } catch {
    // It has ended already, or /proc is not there.
  }
}
