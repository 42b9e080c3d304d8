// Goal: the terminal is told what it needs to be, and no more. Method: drivers with a pipe and with a real
// pseudo-terminal (script(1)), whose control sequences are carried out here; and a driver of many trials, whose memory is
// looked at.
import { existsSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { REPOSITORY, Sandbox, temporaryDirectory } from "./support.ts";

const dir = temporaryDirectory();
const fixture = (name: string) => join(REPOSITORY, "test/fixtures", name);
const OWN_LINE = "a line of the user's own";
let made = 0;

/** What the driver printed, and where its experiment is. */
async function printed(progress?: object | boolean, terminal?: { readonly columns: number }) {
  await using sandbox = new Sandbox({});
  const home = join(dir, String(made++));
  mkdirSync(home);
  const path = join(home, "e");
  const args = [fixture("tune-terminal.mjs"), path];
  if (progress !== undefined) args.push(JSON.stringify(progress));
  const quoted = [process.execPath, ...args].map((arg) => `'${arg}'`).join(" ");
  const script =
    terminal === undefined
      ? sandbox.start(...args)
      : sandbox.spawn("script", ["-qec", `stty rows 24 cols ${terminal.columns}; ${quoted}`, "/dev/null"]);
  const { code, stdout, stderr } = await script.ended;
  expect(stderr).toBe("");
  expect(code).toBe(0);
  return { stdout, path };
}

/** The screen after all of this: lines, cursor up, erase to the end of line and screen. */
function screenOf(output: string): string[] {
  const lines: string[] = [""];
  let [row, column] = [0, 0];
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control sequences are what is read here
  for (const [token] of output.matchAll(/\u001b\[(\d*)([A-Z])|[\s\S]/g)) {
    const line = lines[row] as string;
    if (token === "\n") lines[++row] ??= "";
    else if (token === "\r") column = 0;
    else if (token.startsWith("\u001b")) {
      const count = Number(token.slice(2, -1) || 1);
      if (token.endsWith("A")) row -= count;
      else if (token.endsWith("K")) lines[row] = line.slice(0, column);
      else if (token.endsWith("J")) {
        lines[row] = line.slice(0, column);
        lines.length = row + 1;
      } else throw new Error(`a sequence nobody expects: ${JSON.stringify(token)}`);
    } else {
      lines[row] = line.slice(0, column) + token + line.slice(column + 1);
      column += 1;
    }
  }
  return lines;
}

describe("what is printed", { timeout: 120_000 }, () => {
  test.each([[false], [{ verbosity: 0 }], [{ verbosity: 0, live: true }]])(
    "%o: nothing",
    async (progress) => {
      expect((await printed(progress)).stdout).toBe(`${OWN_LINE}\n`);
    },
  );

  test("to a pipe: where it is, failures with their files, and a summary", async () => {
    const { stdout, path } = await printed();
    const [first, own, failure, summary, best, ...rest] = stdout.split("\n");
    expect([first, own, rest]).toEqual([`experiment ${path}`, OWN_LINE, [""]]);
    const file = join(path, "trials/00004/error.txt");
    expect(failure).toBe(`trial 00004 failed: RangeError: life 0 of e ends before report 2 (see ${file})`);
    expect(existsSync(file)).toBe(true);
    expect(summary).toMatch(/^6\/6 trials \(1 error, 5 terminated\), [\d.]+ s$/);
    expect(best).toMatch(/^best: score 3 by trial 00000, name=a dir=\S+ length=3 failAt=\[\]$/);
  });

  test("verbosity 2: a line per trial; 3: a line per report too", async () => {
    const perTrial = (await printed({ verbosity: 2 })).stdout.split("\n");
    expect(perTrial.filter((line) => /^trial \d{5} ended after 3 reports: score 3$/.test(line))).toHaveLength(
      5,
    );
    expect(perTrial.filter((line) => /^trial \d{5}: /.test(line))).toHaveLength(0);
    const perReport = (await printed({ verbosity: 3 })).stdout.split("\n");
    expect(
      perReport.filter((line) => /^trial \d{5}: score=[123] training_iteration=/.test(line)),
    ).toHaveLength(16);
  });

  test("to a terminal: one table, redrawn in place, and others' lines above it", async () => {
    const { stdout } = await printed(undefined, { columns: 70 });
    const screen = screenOf(stdout);
    expect(screen.filter((line) => line === OWN_LINE)).toHaveLength(1);
    const status = screen.findIndex((line) => line.startsWith("6/6 trials (1 error, 5 terminated), "));
    expect(status).toBeGreaterThan(screen.indexOf(OWN_LINE));
    const table = screen.slice(status);
    // A line that wraps would spoil the next redrawing.
    expect(Math.max(...table.map((line) => line.length))).toBeLessThan(70);
    expect(table[1]).toMatch(/^\d+\/2 CPU; FIFO$/);
    expect(table[2]).toMatch(/^best: score 3 by trial 00000, name=a/);
    expect(table[4]).toMatch(/^trial +status +name +dir/);
    expect(table.filter((line) => /^0000\d +TERMINATED +[abcdf] /.test(line))).toHaveLength(5);
    expect(table.filter((line) => /^00004 +ERROR +e /.test(line))).toHaveLength(1);
    // Nothing of an older drawing is left anywhere.
    expect(screen.filter((line) => /^\d\/6 trials \(/.test(line))).toHaveLength(1);
    expect(screen.filter((line) => /^0000\d /.test(line))).toHaveLength(6);
    const narrow = screenOf(
      (await printed({ maxRows: 2, metricColumns: [], parameterColumns: ["name"] }, { columns: 30 })).stdout,
    );
    expect(narrow.filter((line) => /^0000\d +[A-Z]+ +[a-f]$/.test(line))).toHaveLength(2);
    expect(narrow).toContain("... 4 more trials");
  });
});

test("thousands of trials: memory and journal grow by what they are told, and a restore finds them all", async () => {
  await using sandbox = new Sandbox({});
  const path = join(dir, "scale");
  const count = 2000;
  const { code, stdout, stderr } = await sandbox.run(
    "--expose-gc",
    fixture("tune-scale.mjs"),
    path,
    String(count),
  );
  expect([stderr, code]).toEqual(["", 0]);
  const { heap, restored, ended } = JSON.parse(stdout.trim()) as {
    heap: [number, number, number, number];
    restored: number;
    ended: number;
  };
  expect([restored, ended]).toEqual([count, count]);
  // What is kept of a trial is a few kilobytes: its configuration, its last result, its metrics' statistics.
  expect((heap[3] - heap[1]) / (count / 2)).toBeLessThan(8000);
  const journal = join(path, "journal");
  const bytes = readdirSync(journal).reduce((sum, name) => sum + statSync(join(journal, name)).size, 0);
  expect(bytes / count).toBeLessThan(6000);
  expect(readdirSync(journal).length).toBeLessThanOrEqual(3);
}, 300_000);
