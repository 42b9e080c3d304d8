// Goal: the HTML report shows an experiment to whoever opens it, with nothing but the file. Method: reports of experiments
// run here, in a headless Chromium: what is drawn, where it lies, what a click does, what it asks the network for.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { gridSearch, loguniform, type ResultGrid, Tuner, type TunerOptions, uniform } from "tsray/tune";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Browser, findBrowser, type Page } from "../fixtures/browser.ts";
import * as trainables from "../fixtures/tune.mjs";
import { temporaryDirectory, useCluster } from "./support.ts";

const path = findBrowser();
const dir = temporaryDirectory();

/** Drawn marks of a section: how many of a selector, and whether each lies within its picture and has a size. */
interface Marks {
  readonly count: number;
  readonly outside: readonly string[];
}

const marksIn = (page: Page, section: string, selector: string) =>
  page.evaluate<Marks>(`(() => {
    const marks = [...document.querySelectorAll("#${section} ${selector}")];
    const outside = marks.filter((mark) => {
      const box = mark.getBoundingClientRect(), frame = mark.closest("svg").getBoundingClientRect();
      const isIn = box.left >= frame.left - 2 && box.right <= frame.right + 2 && box.top >= frame.top - 2 && box.bottom <= frame.bottom + 2;
      return !isIn || box.width + box.height <= 0;
    });
    return { count: marks.length, outside: outside.map((mark) => mark.outerHTML) };
  })()`);
/** Words of one axis that cover each other. */
const OVERLAPS = `[...document.querySelectorAll("#curves svg, #pareto svg, #slices svg")].flatMap((picture) => {
  const words = [...picture.querySelectorAll("text")].map((word) => [word.textContent, word.getBoundingClientRect()]);
  const cover = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4;
  return words.flatMap(([text, box], i) => words.slice(i + 1).filter(([, other]) => cover(box, other)).map(([other]) => text + " / " + other));
})`;
const sections = (page: Page) =>
  page.evaluate<string[]>(`[...document.querySelectorAll("main section")].map(({ id }) => id)`);

describe.skipIf(path === undefined)("the report in a browser", { timeout: 120_000 }, () => {
  useCluster({ numCpus: 2 });
  let browser: Browser;
  beforeAll(() => {
    browser = new Browser(path as string);
  });
  afterAll(() => browser[Symbol.asyncDispose]());

  async function open(grid: ResultGrid<object>): Promise<Page> {
    const page = await browser.open(pathToFileURL(join(grid.experimentPath, "report.html")).href);
    await page.emulate(1280, 900, "light");
    return page;
  }
  const search = (name: string, trainable: unknown, options: TunerOptions<object>) =>
    new Tuner(trainable as never, {
      storagePath: dir,
      name,
      progress: false,
      loggers: ["json"],
      ...options,
    }).fit();

  test("two objectives, mixed parameters: every part is drawn, inside its frame", async () => {
    const grid = await search("objectives", trainables.curve, {
      space: {
        rate: loguniform(0.01, 100),
        length: gridSearch([2, 4]),
        label: gridSearch(["<b>a</b>", "&"]),
      },
      numSamples: 5,
      seed: 1,
      metric: ["score", "training_iteration"],
      mode: ["max", "min"],
    });
    const page = await open(grid);
    expect(page.errors).toEqual([]);
    // Nothing but the file itself.
    expect(page.requests).toEqual([pathToFileURL(join(grid.experimentPath, "report.html")).href]);
    expect(await sections(page)).toEqual(["curves", "pareto", "importances", "slices", "parallel", "trials"]);
    expect(await page.evaluate(`document.title`)).toBe("objectives");
    expect(await marksIn(page, "curves", "polyline")).toEqual({ count: 20, outside: [] });
    expect(await marksIn(page, "pareto", "circle")).toEqual({ count: 20, outside: [] });
    expect((await marksIn(page, "pareto", "circle.best")).count).toBe(grid.getParetoFront().length);
    expect(await marksIn(page, "slices", "circle")).toEqual({ count: 60, outside: [] });
    expect(await marksIn(page, "parallel", "polyline")).toEqual({ count: 20, outside: [] });
    expect(await marksIn(page, "importances", "rect")).toEqual({ count: 3, outside: [] });
    // Words of the axes neither leave their picture nor lie on one another.
    expect((await marksIn(page, "slices", "text")).outside).toEqual([]);
    expect(await page.evaluate(OVERLAPS)).toEqual([]);
    // Values are text, whatever they look like.
    expect(await page.evaluate(`document.querySelectorAll("main b").length`)).toBe(0);
    expect(await page.evaluate<string>(`document.querySelector("#slices").textContent`)).toContain(
      "<b>a</b>",
    );
    // Every mark tells its trial on hovering.
    expect(await page.evaluate<string>(`document.querySelector("#slices circle title").textContent`)).toMatch(
      /^trial \d{5}\nscore [\d.]+\ntraining_iteration \d\nrate /,
    );
  });

  test("the best curve stands out; the table is sorted by a click; failures are marked", async () => {
    const grid = await search("failures", trainables.failing, {
      space: { name: gridSearch(["a", "b", "c"]), dir, length: gridSearch([3, 5]), failAt: [4, 4] },
      metric: "score",
      mode: "max",
    });
    expect(grid.numErrors).toBeGreaterThan(0);
    const page = await open(grid);
    expect(page.errors).toEqual([]);
    expect((await marksIn(page, "curves", ".best")).count).toBe(1);
    expect(await sections(page)).toEqual(["history", "curves", "slices", "parallel", "trials"]);
    expect(await marksIn(page, "history", "circle")).toEqual({ count: 6, outside: [] });
    const column = (title: string) =>
      page.evaluate<string[]>(`(() => {
        const at = [...document.querySelectorAll("#trials th")].findIndex((th) => th.textContent === "${title}");
        return [...document.querySelectorAll("#trials tbody tr")].map((row) => row.cells[at].textContent);
      })()`);
    const click = (title: string) =>
      page.evaluate(
        `[...document.querySelectorAll("#trials th")].find((th) => th.textContent === "${title}").click()`,
      );
    await click("trial");
    expect(await column("trial")).toEqual(["00000", "00001", "00002", "00003", "00004", "00005"]);
    await click("trial");
    expect(await column("trial")).toEqual(["00005", "00004", "00003", "00002", "00001", "00000"]);
    await click("iterations");
    const iterations = (await column("iterations")).map(Number);
    expect(iterations).toEqual([...iterations].sort((a, b) => a - b));
    const marked = await page.evaluate<string[]>(
      `[...document.querySelectorAll("#trials tr.error")].map((row) => row.title)`,
    );
    expect(marked).toHaveLength(grid.numErrors);
    for (const title of marked) expect(title).toMatch(/ends before report 4/);
  });

  test("no metric, no number, one trial: what there is, and no error", async () => {
    const plain = await open(await search("plain", trainables.growing, {}));
    expect([plain.errors, await sections(plain)]).toEqual([[], ["trials"]]);
    const nan = await open(
      await search("nan", trainables.nan, { space: { x: gridSearch([0, 0]) }, metric: "loss", mode: "min" }),
    );
    expect([nan.errors, await sections(nan)]).toEqual([[], ["trials"]]);
    const one = await open(
      await search("one", trainables.upAndDown, { space: { p: 2 }, metric: "score", mode: "max" }),
    );
    expect([one.errors, await sections(one)]).toEqual([[], ["curves", "trials"]]);
    // Where trials report once, there are no curves to see.
    const single = await open(
      await search("single", trainables.quadratic, {
        space: { x: gridSearch([0, 1]) },
        metric: "loss",
        mode: "min",
      }),
    );
    expect([single.errors, await sections(single)]).toEqual([
      [],
      ["history", "slices", "parallel", "trials"],
    ]);
    expect(await marksIn(single, "history", "polyline")).toEqual({ count: 1, outside: [] });
  });

  test("narrow windows and dark ones", async () => {
    const grid = await search("narrow", trainables.quadratic, {
      space: { x: uniform(0, 1), deep: { y: uniform(0, 1) } },
      numSamples: 12,
      metric: "loss",
      mode: "min",
    });
    const page = await open(grid);
    const colours = () =>
      page.evaluate<string[]>(
        `[document.body, document.querySelector("svg text")].map((each) => getComputedStyle(each)).map((s, i) => i === 0 ? s.backgroundColor : s.fill)`,
      );
    const light = await colours();
    await page.emulate(400, 800, "dark");
    const dark = await colours();
    expect(dark[0]).not.toBe(light[0]);
    expect(dark[1]).not.toBe(light[1]);
    // What is too wide scrolls in its own section: the page does not.
    expect(await page.evaluate(`document.documentElement.scrollWidth <= innerWidth`)).toBe(true);
    expect((await page.screenshot()).subarray(1, 4).toString()).toBe("PNG");
    expect(readFileSync(join(grid.experimentPath, "report.html"), "utf8")).not.toMatch(
      /https?:\/\/(?!www\.w3\.org)/,
    );
  });
});
