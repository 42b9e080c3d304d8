#!/usr/bin/env node
/**
 * The command line. Says which commands and options there are; what a command does is in a file of its own, loaded when
 * it is asked for.
 *
 * Exit codes: 0 done, 1 it did not work, 2 it was asked for wrongly. Results go to standard output, all else to standard
 * error.
 */
import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { InvalidOptionError, TsrayError } from "../core/base/errors.ts";
import type { DrainFlags } from "./drain.ts";
import type { ListFlags } from "./list.ts";
import type { MemoryFlags } from "./memory.ts";
import type { MicrobenchmarkFlags } from "./microbenchmark.ts";
import type { StartFlags } from "./start.ts";
import type { StatusFlags } from "./status.ts";
import type { TuneFlags } from "./tune.ts";
import { UsageError } from "./usage-error.ts";

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;
const ADDRESS_HELP = "head of the cluster; default: TSRAY_ADDRESS, else the one that runs on this machine";
const TOKEN_HELP =
  "file with the cluster's token; default: TSRAY_TOKEN_FILE, else found by itself on this machine";

/** Options that a later version owns: refused, so that none is taken and ignored. */
const NOT_YET = ["--dashboard-port <port>", "--tls-cert <file>", "--tls-key <file>", "--tls-ca <file>"];

function notYet(flags: string): Option {
  return new Option(flags).hideHelp().argParser((): never => {
    throw new InvalidArgumentError("It is not supported in this version.");
  });
}

function makeProgram(): Command {
  const program = new Command("tsray")
    .description("Ray for TypeScript: remote tasks, actors and shared-memory objects")
    .exitOverride()
    .enablePositionalOptions()
    .showHelpAfterError("(tsray --help, tsray COMMAND --help)");

  const start = program
    .command("start")
    .description("start a cluster on this machine, or add a node to one")
    .option("--head", "start a new cluster: a head, and a node beside it")
    .option("--address <host:port>", "join the cluster with this head")
    .option("--port <port>", "port of the head; 0 = any that is free (default: 6380)")
    .option("--host <host>", "host under which other processes reach this node (default: 127.0.0.1)")
    .option("--num-cpus <n>", "CPUs offered (default: those of the machine)")
    .option("--num-gpus <n>", "GPUs offered (default: those of the machine)")
    .option("--resources <json>", 'custom resources offered, as in {"disk": 2}')
    .option("--labels <k=v,...>", "facts about the node")
    .option("--object-store-memory <size>", "shared memory for objects: bytes, or as in 512MiB, 2GB")
    .option("--spill-dir <dir>", "where objects go that this memory has no room for")
    .option(
      "--state <where>",
      "head's tables: memory, lmdb or lmdb:DIR; LMDB outlives the head (default: memory)",
    )
    .option("--token-file <file>", "file with a token of your own for the cluster (see: tsray token)")
    .option("--block", "stay in the foreground; Ctrl-C ends the node");
  for (const flags of NOT_YET) start.addOption(notYet(flags));
  start.action(async (flags: StartFlags) => (await import("./start.ts")).start(flags));

  program
    .command("stop")
    .description("end every node that `tsray start` of this user runs on this machine")
    .option("--force", "kill them at once")
    .action(async (flags: { force?: boolean }) => (await import("./stop.ts")).stop(flags.force === true));

  program
    .command("drain <node>")
    .description("have a node leave: no new work, what runs finishes, objects move to other nodes")
    .option("--grace <seconds>", "time for tasks and actors that run there (default: 30)")
    .option("--reason <text>", "why, for listings and logs")
    .option("--address <host:port>", ADDRESS_HELP)
    .option("--token-file <file>", TOKEN_HELP)
    .action(async (node: string, flags: DrainFlags) => (await import("./drain.ts")).drain(node, flags));

  program
    .command("status")
    .description("nodes, resources, and what waits for them")
    .option("--json", "one JSON document")
    .option("--address <host:port>", ADDRESS_HELP)
    .option("--token-file <file>", TOKEN_HELP)
    .action(async (flags: StatusFlags) => (await import("./status.ts")).status(flags));

  program
    .command("list <kind>")
    .description("what there is: nodes, actors, tasks, objects, workers or jobs")
    .option("--filter <k=v>", "only rows with that value; may be repeated", collect)
    .option("--json", "one JSON document")
    .option("--address <host:port>", ADDRESS_HELP)
    .option("--token-file <file>", TOKEN_HELP)
    .action(async (kind: string, flags: ListFlags) => (await import("./list.ts")).list(kind, flags));

  program
    .command("memory")
    .description("what the object stores hold, and which process holds which object, and why")
    .option("--limit <n>", "objects shown of each process, the largest first (default: 50)")
    .option("--json", "one JSON document")
    .option("--address <host:port>", ADDRESS_HELP)
    .option("--token-file <file>", TOKEN_HELP)
    .action(async (flags: MemoryFlags) => (await import("./memory.ts")).memory(flags));

  program
    .command("run <script> [args...]")
    .description("run a script; init() inside joins the cluster that runs on this machine, if one does")
    .passThroughOptions()
    .action(async (script: string, args: string[]) => (await import("./run.ts")).run(script, args));

  const tune = program.command("tune").description("experiments of tsray/tune");
  tune
    .command("ls [directory]")
    .description("experiments in a directory (default: ~/tsray_results)")
    .option("--json", "one JSON document")
    .action(async (directory: string | undefined, flags: TuneFlags) =>
      (await import("./tune.ts")).list(directory, flags),
    );
  tune
    .command("show <path>")
    .description("an experiment's trials")
    .option("--json", "one JSON document")
    .option("--rows <n>", "rows of the table (default: 20)")
    .action(async (path: string, flags: TuneFlags) => (await import("./tune.ts")).show(path, flags));
  tune
    .command("best <path>")
    .description("the best trial: its configuration, metrics and checkpoint")
    .option("--metric <name>", "default: the experiment's")
    .option("--mode <min|max>", "default: the experiment's")
    .option("--scope <scope>", "last, best, avg, last-5-avg or last-10-avg (default: last)")
    .option("--json", "one JSON document")
    .action(async (path: string, flags: TuneFlags) => (await import("./tune.ts")).best(path, flags));
  tune
    .command("resume <path>")
    .description("run the experiment's script again, so that it goes on where it ended")
    .action(async (path: string) => (await import("./tune.ts")).resume(path));

  program
    .command("microbenchmark")
    .description("measure calls and objects on a cluster of its own, under Ray's names for the rows")
    .option("--filter <regex>", "only rows whose name this finds, in whatever case")
    .option("--quick", "rounds of 0.4 s instead of 2 s: for a look, not for a figure")
    .option("--heavy", "with the rows that take minutes and gigabytes")
    .option("--num-cpus <n>", "CPUs of the cluster (default: those of the machine)")
    .option("--object-store-memory <size>", "shared memory for objects: bytes, or as in 512MiB, 2GB")
    .option("--json", "one JSON document")
    .action(async (flags: MicrobenchmarkFlags) =>
      (await import("./microbenchmark.ts")).microbenchmark(flags),
    );

  program
    .command("token")
    .description("print a new token")
    .action(async () => (await import("./token.ts")).token());

  program
    .command("version")
    .description("print the version of tsray")
    .action(async () => (await import("./version.ts")).version());
  return program;
}

function collect(value: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), value];
}

/** Says what went wrong, where that has not been done. @returns the exit code */
function report(error: unknown): number {
  // Commander has printed its message.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
  console.error(`tsray: ${error instanceof Error ? error.message : String(error)}`);
  if (error instanceof UsageError || error instanceof InvalidOptionError) return EXIT_USAGE;
  // What is no error of ours is a defect of tsray: its place is worth knowing, on request.
  if (!(error instanceof TsrayError) && process.env.TSRAY_DEBUG !== undefined) console.error(error);
  return EXIT_FAILED;
}

// A reader that has seen enough, as in `tsray list tasks | head`, is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) =>
  process.exit(error.code === "EPIPE" ? 0 : EXIT_FAILED),
);

try {
  await makeProgram().parseAsync();
} catch (error) {
  process.exitCode = report(error);
}
