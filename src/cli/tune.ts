/** `tsray tune`: experiments that are recorded on disk, and going on with one. */
import { spawn } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { homedir } from "node:os";
import { resolve as absolute, join } from "node:path";
import { printJson, printTable, type Row } from "./output.ts";
import { UsageError } from "./usage-error.ts";

export interface TuneFlags {
  readonly json?: boolean;
  readonly rows?: string;
  readonly metric?: string;
  readonly mode?: string;
  readonly scope?: string;
}

const SCOPES = ["last", "best", "avg", "last-5-avg", "last-10-avg"] as const;
const ROWS = 20;

/** Loaded when a command needs it: the rest of the command line does without. */
const load = () => import("../libs/tune/index.ts");

export async function list(directory: string | undefined, flags: TuneFlags): Promise<void> {
  const { ResultGrid, Tuner } = await load();
  const root = absolute(directory ?? join(homedir(), "tsray_results"));
  if (!existsSync(root)) throw new UsageError(`there is no directory ${root}`);
  const paths = readdirSync(root, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && Tuner.canRestore(join(root, entry.name)))
    .map((entry) => join(root, entry.name));
  const rows = paths.map((path) => {
    const grid = ResultGrid.load(path);
    const { header } = grid;
    const best = header.metrics.length > 0 && grid.length > 0 ? bestOf(grid) : undefined;
    return {
      name: header.name,
      created: new Date(header.createdAt).toISOString(),
      trials: grid.length,
      terminated: grid.numTerminated,
      failed: grid.numErrors,
      best:
        best === undefined
          ? ""
          : `${header.metrics[0]}=${best.valueOf(header.metrics[0] as string, header.modes[0] ?? "max", "last")}`,
      path,
    };
  });
  rows.sort((a, b) => (a.created < b.created ? -1 : 1));
  if (flags.json === true) printJson(rows);
  else printTable(["name", "created", "trials", "terminated", "failed", "best"], rows);
}

export async function show(path: string, flags: TuneFlags): Promise<void> {
  const { ResultGrid } = await load();
  const rowsMax = flags.rows === undefined ? ROWS : Number(flags.rows);
  if (!Number.isSafeInteger(rowsMax) || rowsMax < 1) throw new UsageError("--rows takes a whole number >= 1");
  const grid = ResultGrid.load(absolute(path));
  const rows = grid.toTable();
  if (flags.json === true) {
    printJson({ header: grid.header, trials: rows });
    return;
  }
  const { header } = grid;
  console.log(
    `${header.name}: ${grid.length} trials, ${grid.numTerminated} terminated, ${grid.numErrors} failed; ` +
      `${header.trainable}, ${header.searcher}, ${header.scheduler}`,
  );
  const parameters = [
    ...new Set(rows.flatMap((row) => Object.keys(row).filter((key) => key.startsWith("config/")))),
  ];
  const columns = [
    "trial_id",
    "status",
    ...header.metrics,
    "training_iteration",
    "time_total_s",
    ...parameters,
  ];
  printTable(columns, rows.slice(0, rowsMax).map(shorten));
  if (rows.length > rowsMax) console.log(`... ${rows.length - rowsMax} more (--rows)`);
  for (const result of grid)
    if (result.error !== undefined)
      console.log(`trial ${result.trialId} failed: ${join(result.path, "error.txt")}`);
}

export async function best(path: string, flags: TuneFlags): Promise<void> {
  const { ResultGrid } = await load();
  const { metric, mode, scope } = flags;
  if (mode !== undefined && mode !== "min" && mode !== "max") throw new UsageError("--mode takes min or max");
  const chosen = SCOPES.find((each) => each === scope);
  if (scope !== undefined && chosen === undefined) throw new UsageError(`--scope takes ${SCOPES.join(", ")}`);
  const result = ResultGrid.load(absolute(path)).getBestResult({
    ...(metric === undefined ? {} : { metric }),
    ...(mode === undefined ? {} : { mode }),
    ...(chosen === undefined ? {} : { scope: chosen }),
  });
  const { trialId, config, metrics, checkpoint } = result;
  const found = { trialId, config, metrics, checkpoint: checkpoint?.path ?? null, path: result.path };
  if (flags.json === true) printJson(found);
  else {
    console.log(`trial ${trialId}`);
    printTable(
      ["parameter", "value"],
      Object.entries(config).map(([parameter, value]) => ({ parameter, value })),
    );
    printTable(
      ["metric", "value"],
      Object.entries(metrics).map(([name, value]) => ({ metric: name, value })),
    );
    if (checkpoint !== undefined) console.log(`checkpoint ${checkpoint.path}`);
  }
}

/** Its script is run as it was; the Tuner in it finds that this experiment is to go on. */
export async function resume(path: string): Promise<void> {
  const { ResultGrid } = await load();
  const { header, experimentPath } = ResultGrid.load(absolute(path));
  const { script, args, execArgv, cwd } = header.command;
  if (!existsSync(script))
    throw new UsageError(
      `the experiment's script ${script} is not there any more: run Tuner.restore() yourself`,
    );
  const child = spawn(process.execPath, [...execArgv, script, ...args], {
    cwd: existsSync(cwd) ? cwd : process.cwd(),
    stdio: "inherit",
    env: { ...process.env, TSRAY_TUNE_RESUME: experimentPath },
  });
  // A terminal's Ctrl-C has reached the script already.
  process.on("SIGINT", () => {});
  process.on("SIGTERM", () => child.kill("SIGTERM"));
  process.exitCode = await new Promise<number>((settle, reject) => {
    child.on("error", reject);
    child.on("exit", (code) => settle(code ?? 1));
  });
}

/** Numbers as one reads them; `--json` has all digits. */
function shorten(row: Row): Row {
  const short = (value: unknown) =>
    typeof value === "number" && !Number.isInteger(value) ? Number(value.toPrecision(5)) : value;
  return Object.fromEntries(Object.entries(row).map(([name, value]) => [name, short(value)]));
}

function bestOf<R>(grid: { getBestResult(): R }): R | undefined {
  try {
    return grid.getBestResult();
  } catch {
    return undefined; // no trial has reported a number
  }
}
