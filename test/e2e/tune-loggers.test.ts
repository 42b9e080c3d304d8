// Goal: what Tune writes can be read by others: JSON lines, CSV, TensorBoard, MLflow's file store, the HTML report; and the
// command line reads experiments. Method: files of real runs, parsed here a second way, and by TensorBoard itself where it is
// installed (scripts/tensorboard-venv.mjs).
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { runInNewContext } from "node:vm";
import { gridSearch, type ResultGrid, Tuner, type TunerOptions, uniform } from "tsray/tune";
import { describe, expect, test } from "vitest";
import * as trainables from "../fixtures/tune.mjs";
import { REPOSITORY, Sandbox, temporaryDirectory, useCluster } from "./support.ts";

const dir = temporaryDirectory();
useCluster({ numCpus: 2 });
let made = 0;

function search(trainable: unknown, options: TunerOptions<object>): Promise<ResultGrid<object>> {
  const tuner = new Tuner(trainable as never, {
    storagePath: dir,
    name: `run-${made++}`,
    progress: false,
    ...options,
  });
  return tuner.fit();
}

const lines = (path: string) => readFileSync(path, "utf8").trim().split("\n");

describe("loggers", () => {
  test("JSON: a line per report, NaN and infinity included", async () => {
    const grid = await search(trainables.nan, { space: { x: gridSearch([0, 1]) }, loggers: ["json"] });
    const [first] = lines(join(grid[0]?.path as string, "result.json")).map(
      (line) => JSON.parse(line) as object,
    );
    expect(first).toMatchObject({ loss: "NaN", huge: "Infinity", training_iteration: 1, trial_id: "00000" });
    expect(JSON.parse(readFileSync(join(grid[1]?.path as string, "params.json"), "utf8"))).toEqual({ x: 1 });
  });

  test("CSV: columns may appear later", async () => {
    const grid = await search(trainables.growing, { loggers: ["csv"] });
    const rows = lines(join(grid[0]?.path as string, "progress.csv")).map((line) => line.split(","));
    const [head, ...body] = rows as [string[], ...string[][]];
    expect(new Set(rows.map((row) => row.length)).size).toBe(1);
    const column = (name: string) => body.map((row) => row[head.indexOf(name)]);
    expect(column("a")).toEqual(["1", "2", "3"]);
    expect(column("late/b")).toEqual(["", "20", "30"]);
    expect(column("text")).toEqual(["", "", "x"]);
  });

  test("MLflow: the file store", async () => {
    const grid = await search(trainables.upAndDown, {
      space: { p: 2 },
      metric: "score",
      mode: "max",
      loggers: ["mlflow"],
    });
    const root = join(grid.experimentPath, "mlruns");
    const [experiment] = readdirSync(root) as [string];
    expect(readFileSync(join(root, experiment, "meta.yaml"), "utf8")).toContain(
      `experiment_id: "${experiment}"`,
    );
    const run = readdirSync(join(root, experiment)).find((name) => name !== "meta.yaml") as string;
    expect(
      lines(join(root, experiment, run, "metrics/score")).map((line) => line.split(" ").slice(1)),
    ).toEqual([
      ["2", "1"],
      ["8", "2"],
      ["6", "3"],
    ]);
    expect(readFileSync(join(root, experiment, run, "params/p"), "utf8")).toBe("2");
    expect(readFileSync(join(root, experiment, run, "meta.yaml"), "utf8")).toContain("status: 3\n");
  });

  test("TensorBoard: whole records with right checksums", async () => {
    const grid = await search(trainables.upAndDown, {
      space: { p: 2 },
      metric: "score",
      mode: "max",
      loggers: ["tensorboard"],
    });
    const path = grid[0]?.path as string;
    const file = readdirSync(path).find((name) => name.startsWith("events.out.tfevents.")) as string;
    const data = readFileSync(join(path, file));
    let records = 0;
    for (let at = 0; at < data.length; records++) {
      const length = Number(data.readBigUInt64LE(at));
      expect(data.readUInt32LE(at + 8)).toBe(maskedCrc(data.subarray(at, at + 8)));
      expect(data.readUInt32LE(at + 12 + length)).toBe(maskedCrc(data.subarray(at + 12, at + 12 + length)));
      at += 16 + length;
    }
    expect(records).toBe(1 + 3 + 3); // version, reports, hyperparameters
  });

  const cached = join(
    process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"),
    "tsray/tensorboard/bin/python",
  );
  const python = process.env.TSRAY_TENSORBOARD_PYTHON ?? cached;
  test.skipIf(!existsSync(python))(
    "TensorBoard itself reads them",
    async () => {
      const grid = await search(trainables.upAndDown, {
        space: { p: 2 },
        metric: "score",
        mode: "max",
        loggers: ["tensorboard"],
      });
      const program = [
        "import json, sys",
        "from tensorboard.backend.event_processing.event_accumulator import EventAccumulator",
        "events = EventAccumulator(sys.argv[1]); events.Reload()",
        "content = events.summary_metadata['_hparams_/session_start_info'].plugin_data.content",
        "from tensorboard.plugins.hparams import plugin_data_pb2",
        "data = plugin_data_pb2.HParamsPluginData.FromString(content)",
        "hparams = {k: v.number_value for k, v in data.session_start_info.hparams.items()}",
        "info = plugin_data_pb2.HParamsPluginData.FromString(events.summary_metadata['_hparams_/experiment'].plugin_data.content)",
        "print(json.dumps({'scores': [(e.step, e.value) for e in events.Scalars('ray/tune/score')], 'hparams': hparams,",
        "  'metrics': [m.name.tag for m in info.experiment.metric_infos], 'names': [h.name for h in info.experiment.hparam_infos]}))",
      ];
      const printed = execFileSync(python, ["-c", program.join("\n"), grid[0]?.path as string], {
        encoding: "utf8",
        stdio: ["ignore", "pipe", "ignore"],
      });
      expect(JSON.parse(printed)).toEqual({
        scores: [
          [1, 2],
          [2, 8],
          [3, 6],
        ],
        hparams: { p: 2 },
        metrics: ["ray/tune/score"],
        names: ["p"],
      });
    },
    60_000,
  );
});

describe("the HTML report", () => {
  test("stands alone, and its script draws every part", async () => {
    const grid = await search(trainables.curve, {
      space: { rate: uniform(1, 2), length: gridSearch([2, 3]), name: "</script>" },
      numSamples: 6,
      seed: 1,
      metric: ["score", "training_iteration"],
      mode: ["max", "min"],
      loggers: ["json"],
    });
    const page = readFileSync(join(grid.experimentPath, "report.html"), "utf8");
    expect(page).not.toMatch(/(?:src|href)="/);
    const json = /<script type="application\/json" id="data">(.*?)<\/script>/s.exec(page)?.[1] as string;
    const script = /<script>(.*)<\/script>/s.exec(page)?.[1] as string;
    const document = new FakeDocument(json);
    runInNewContext(script, { document, console });
    expect(document.sections()).toEqual(["curves", "pareto", "importances", "slices", "parallel", "trials"]);
    expect(document.count("polyline")).toBeGreaterThanOrEqual(24);
    expect(document.count("tr")).toBe(13);
  });
});

describe("the command line", () => {
  test("ls, show, best", async () => {
    const grid = await search(trainables.quadratic, {
      name: "for-the-cli",
      space: { x: gridSearch([0, 0.5]) },
      metric: "loss",
      mode: "min",
    });
    await using sandbox = new Sandbox({});
    const cli = join(REPOSITORY, "dist/cli.js");
    const listed = JSON.parse((await sandbox.run(cli, "tune", "ls", dir, "--json")).stdout) as {
      name: string;
      trials: number;
    }[];
    expect(listed.find(({ name }) => name === "for-the-cli")).toMatchObject({
      trials: 2,
      terminated: 2,
      failed: 0,
    });
    expect((await sandbox.run(cli, "tune", "show", grid.experimentPath)).stdout).toMatch(/00001 +TERMINATED/);
    const found = JSON.parse(
      (await sandbox.run(cli, "tune", "best", grid.experimentPath, "--json")).stdout,
    ) as object;
    expect(found).toMatchObject({ trialId: "00001", config: { x: 0.5 } });
    const wrong = await sandbox.run(cli, "tune", "best", dir);
    expect([wrong.code, wrong.stderr]).toEqual([1, expect.stringMatching(/there is no experiment in/)]);
    expect((await sandbox.run(cli, "tune", "best", grid.experimentPath, "--mode", "most")).code).toBe(2);
    for (const [args, complaint] of [
      [["ls", join(dir, "nowhere")], /there is no directory .*nowhere/],
      [["show", grid.experimentPath, "--rows", "0"], /--rows takes a whole number >= 1/],
      [["best", grid.experimentPath, "--scope", "first"], /--scope takes last, best, avg, /],
    ] as const) {
      const { code, stderr } = await sandbox.run(cli, "tune", ...args);
      expect([code, stderr]).toEqual([2, expect.stringMatching(complaint)]);
    }
  });

  test("resume runs the experiment's script again", async () => {
    await using sandbox = new Sandbox({
      "package.json": '{"type":"module"}',
      "main.js": `import { existsSync } from "node:fs";
        import { init, remote, shutdown } from "tsray";
        import { gridSearch, Tuner } from "tsray/tune";
        const train = remote(function train({ x }) { if (x === 2 && !existsSync("repaired")) process.exit(1); return { y: x }; });
        await init({ numCpus: 2, logToDriver: false });
        const options = { space: { x: gridSearch([1, 2]) }, progress: false, failure: { failFast: true }, name: "e", storagePath: "out" };
        const grid = await new Tuner(train, options).fit();
        console.log(JSON.stringify([...grid].map(({ status }) => status)));
        await shutdown();`,
    });
    const first = await sandbox.run("main.js");
    expect(first.stdout).toContain("ERROR");
    const again = await sandbox.run(join(REPOSITORY, "dist/cli.js"), "tune", "resume", "out/e");
    expect([again.stderr, again.code]).toEqual(["", 0]);
    expect(again.stdout).toMatch(/"TERMINATED"/);
  });
});

/** CRC-32C bit by bit, masked as TensorFlow's record files have it. */
function maskedCrc(data: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  crc = (crc ^ 0xffffffff) >>> 0;
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

/** As much of a document as the report's script needs. */
class FakeDocument {
  readonly #main = new FakeElement("main");
  readonly #byId = new Map<string, FakeElement>();

  constructor(json: string) {
    const data = new FakeElement("script");
    data.textContent = json;
    this.#byId.set("data", data);
    this.#byId.set("summary", new FakeElement("dl"));
  }
  getElementById(id: string): FakeElement | undefined {
    return this.#byId.get(id);
  }
  querySelector(): FakeElement {
    return this.#main;
  }
  createElement(tag: string): FakeElement {
    return new FakeElement(tag);
  }
  createElementNS(_space: string, tag: string): FakeElement {
    return new FakeElement(tag);
  }
  createTextNode(text: string): string {
    return text;
  }
  sections(): (string | undefined)[] {
    return this.#main.children.map((child) => child.id);
  }
  count(tag: string): number {
    return this.#main.all().filter((element) => element.tag === tag).length;
  }
}

class FakeElement {
  id: string | undefined;
  textContent = "";
  children: FakeElement[] = [];
  readonly tag: string;
  constructor(tag: string) {
    this.tag = tag;
  }
  append(...children: (FakeElement | string)[]): void {
    this.children.push(...children.filter((child) => child instanceof FakeElement));
  }
  replaceChildren(...children: FakeElement[]): void {
    this.children = children;
  }
  setAttribute(name: string, value: unknown): void {
    // NaN in a coordinate is a part that would not be seen.
    if (String(value).includes("NaN")) throw new Error(`${this.tag} has ${name}="${String(value)}"`);
  }
  all(): FakeElement[] {
    return [this, ...this.children.flatMap((child) => child.all())];
  }
}
