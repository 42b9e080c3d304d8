/**
 * What the programs of daemon and head have in common: one line of configuration on standard input, news on standard
 * output, a log file, and an orderly end in which everything that was opened is closed, last first.
 */
import { join } from "node:path";
import { type ErrorRecord, TsrayError, toErrorRecord } from "../core/base/errors.ts";
import { LogFile } from "../raylet/workers/log-file.ts";

const CONFIG_CHARS_MAX = 4 * 1024 * 1024;

export interface Program {
  readonly log: (text: string) => void;
  /** What is to be closed at the end; a removed one is not. */
  readonly closers: (() => Promise<void> | void)[];
  /** Ends the process: closers first. Safe to repeat. */
  end(reason: string, exitCode?: number): Promise<void>;
}

export interface ProgramOptions<Config> {
  readonly title: string;
  readonly logFile: (config: Config) => string;
  readonly sessionDir: (config: Config) => string;
  /** Whether the process goes with whoever holds its standard input. */
  readonly hasLifeline: (config: Config) => boolean;
  readonly start: (config: Config, program: Program) => Promise<void>;
  /** SIGTERM; by default the process ends at once. A second one, or SIGQUIT, always ends it at once. */
  readonly onTerminate?: (program: Program) => void;
  /** After the closers. */
  readonly onEnded?: (config: Config) => void;
}

/** One line of JSON for whoever started this process. */
export function tell(news: object): void {
  process.stdout.write(`${JSON.stringify(news)}\n`);
}

export function runProgram<Config>(options: ProgramOptions<Config>): void {
  process.title = options.title;
  process.umask(0o077);
  // The user's terminal is not ours: Ctrl-C ends the driver, and its end ends what belongs to it.
  process.on("SIGINT", () => {});
  process.on("SIGHUP", () => {});
  process.stdout.on("error", () => {});
  readConfig<Config>((config, onInputEnd) => void run(options, config, onInputEnd));
}

async function run<Config>(
  options: ProgramOptions<Config>,
  config: Config,
  onInputEnd: (then: () => void) => void,
): Promise<void> {
  const file = new LogFile(join(options.sessionDir(config), "logs", options.logFile(config)));
  const log = (text: string) => file.write({ text: `${new Date().toISOString()} ${text}` });
  const closers: Program["closers"] = [];
  let ending = false;
  const end = async (reason: string, exitCode = 0) => {
    if (ending) return;
    ending = true;
    log(`ends: ${reason}`);
    for (const close of closers.reverse()) {
      try {
        await close();
      } catch (error) {
        log(`while ending: ${(error as Error).stack}`);
      }
    }
    file.close();
    options.onEnded?.(config);
    process.exit(exitCode);
  };
  const program: Program = { log, closers, end };
  process.on("uncaughtException", (error) => {
    log(`uncaught: ${error.stack ?? error.message}`);
    void end("an internal error; see the log", 1);
  });
  let terminations = 0;
  process.on("SIGTERM", () => {
    terminations += 1;
    if (terminations === 1 && options.onTerminate !== undefined) options.onTerminate(program);
    else void end("SIGTERM");
  });
  process.on("SIGQUIT", () => void end("SIGQUIT"));
  if (options.hasLifeline(config)) onInputEnd(() => void end("the process it belongs to is gone"));
  try {
    await options.start(config, program);
  } catch (error) {
    if (ending) return;
    const ours =
      error instanceof TsrayError
        ? error
        : new TsrayError("ClusterUnreachableError", String((error as Error).stack));
    tell({ kind: "failed", error: toErrorRecord(ours) satisfies ErrorRecord });
    // The line must be out before the process ends.
    process.stdout.write("", () => void end(`it could not start: ${ours.message}`, 1));
  }
}

function readConfig<Config>(start: (config: Config, onInputEnd: (then: () => void) => void) => void): void {
  let text = "";
  let ended = false;
  let onEnd: (() => void) | undefined;
  process.stdin.setEncoding("utf8");
  const onData = (chunk: string) => {
    text += chunk;
    const at = text.indexOf("\n");
    if (at < 0 && text.length < CONFIG_CHARS_MAX) return;
    process.stdin.off("data", onData);
    // Kept flowing, so that its end is seen.
    process.stdin.resume();
    start(JSON.parse(text.slice(0, at)) as Config, (then) => {
      onEnd = then;
      if (ended) then();
    });
  };
  process.stdin.on("data", onData);
  const end = () => {
    ended = true;
    onEnd?.();
  };
  process.stdin.on("end", end);
  process.stdin.on("error", end);
}
