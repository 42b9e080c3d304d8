// The cases (R16 to R18 of the reliability goals). Each takes a world with an actor on machine B, cuts something, and tells
// what it saw. All times are milliseconds of the clock that all processes share.
import { readFileSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { get, nodes } from "tsray";
import { livesOf, now, Recorded, wait } from "./loads.mjs";

const POLL_MS = 10;

/**
 * @typedef {import("./networks.mjs").Machine} Machine
 * @typedef {{ machine: Machine, nodeId: string, pid: number }} Placed
 * @typedef {object} World
 * @property {Placed} head
 * @property {Placed} b
 * @property {Placed} c
 * @property {string} dir
 * @property {{ selfFenceMs: number, declareDeadMs: number, graceMs: number, pauseMsMax: number }} times
 * @property {(resources: Record<string, number>) => Promise<Placed>} addBesideHead
 */

/** @param {string} what @param {number} limitMs @param {() => unknown} holds */
export async function until(what, limitMs, holds) {
  const endMs = now() + limitMs;
  while (!(await holds())) {
    if (now() > endMs) throw new Error(`waited ${limitMs} ms in vain for ${what}`);
    await sleep(POLL_MS);
  }
}

/** The daemon's node now: a fenced one comes back with another id. @param {number} pid */
export async function nodeOf(pid) {
  return (await nodes()).find((node) => node.alive && node.pid === pid);
}

/** Actors of a world, by name: made on the machine that has what they ask for. */
export function makeActor(/** @type {World} */ world, /** @type {string} */ name, resources = { a: 1 }) {
  const file = `${world.dir}/${name}`;
  return { file, actor: Recorded.options({ resources }).remote(file) };
}

/**
 * Two lives of one actor, of which the first was cut off.
 * @param {string} file @param {number} cutMs
 */
function passage(file, cutMs) {
  const lives = livesOf(file);
  const [old, next] = lives.slice(-2);
  if (old === undefined || next === undefined) throw new Error(`one life only: ${file}`);
  return {
    lives: lives.length,
    /** From the cut to the last sign of the old life. */
    endedMs: Math.round(old.lastMs - cutMs),
    /** From the cut to the first sign of the next. */
    restartedMs: Math.round(next.firstMs - cutMs),
    overlapMs: Math.max(0, Math.round(old.lastMs - next.firstMs)),
    old,
    next,
  };
}

/**
 * A short cut of B, several times: nobody dies, nothing restarts, all is answered soon after.
 * @param {World} world @param {{ actor: any, file: string }} recorded @param {number} cutMs @param {number} count
 */
export async function short({ b }, { actor, file }, cutMs, count) {
  const before = (await nodes()).map(({ nodeId, alive }) => `${nodeId} ${alive}`).join();
  const resumed = [];
  for (let i = 0; i < count; i++) {
    b.machine.cut();
    await sleep(cutMs);
    b.machine.heal();
    const healedMs = now();
    await get(actor.call.remote(-1, 0));
    const calledMs = now();
    // A new lease of that raylet, over its gRPC connection.
    await get(wait.options({ resources: { b: 0.001 } }).remote(0));
    resumed.push({ call: Math.round(calledMs - healedMs), task: Math.round(now() - healedMs) });
    await sleep(cutMs / 5);
  }
  const after = (await nodes()).map(({ nodeId, alive }) => `${nodeId} ${alive}`).join();
  return {
    count,
    sameNodes: before === after,
    lives: livesOf(file).length,
    callMsMax: Math.max(...resumed.map(({ call }) => call)),
    taskMsMax: Math.max(...resumed.map(({ task }) => task)),
  };
}

/**
 * A machine is cut off for long; its actor goes on elsewhere, and it comes back as another node.
 * @param {World} world @param {{ actor: any, file: string }} recorded
 * @param {{ from: Placed, cut: () => void, heal: () => void, holdMs: number, other: string }} cutting
 */
export async function long({ times }, { actor, file }, { from, cut, heal, holdMs, other }) {
  const livesBefore = livesOf(file).length;
  const nodeId = (await nodeOf(from.pid))?.nodeId;
  // What the old life has running elsewhere ends with it, or the next one's would find no room.
  const holdFile = `${file}.held${livesBefore}`;
  writeFileSync(holdFile, "");
  const starts = () => readFileSync(holdFile, "utf8").split("\n").length - 1;
  const held = actor.hold.remote({ [other]: 1.5 }, holdFile);
  await until("a task of the actor's to run", 30_000, () => starts() === 1);
  // Answered by the old life, into nothing: only the next one's answer may count.
  const slow = actor.call
    .remote(-2, times.selfFenceMs / 2)
    .then((/** @type {number[]} */ [, life]) => ({ life, atMs: now() }));
  await until("the call to run", 30_000, () => livesOf(file).at(-1)?.calls.has(-2));
  cut();
  const cutMs = now();
  const limitMs = times.declareDeadMs + times.graceMs + 30_000;
  await until("the next life", limitMs, () => livesOf(file).length > livesBefore);
  const answer = await slow;
  await until("the next life's task to run", 30_000, () => starts() === 2);
  writeFileSync(`${holdFile}.go`, "");
  await held;
  await sleep(Math.max(0, holdMs - (now() - cutMs)));
  heal();
  const healedMs = now();
  await until("the machine to be back", 60_000, async () => {
    const node = await nodeOf(from.pid);
    return node !== undefined && node.nodeId !== nodeId;
  });
  const backMs = Math.round(now() - healedMs);
  const { old, next, ...rest } = passage(file, cutMs);
  return {
    ...rest,
    backMs,
    /** What both lives have run, and whose answer counted, and when. */
    ranTwice: [...old.calls].filter((n) => next.calls.has(n)).length,
    answeredBy: answer.life === next.life ? "the next life" : "the old life",
    answeredMs: Math.round(answer.atMs - cutMs),
    /** The old one's, after the next had begun. */
    isStale: answer.life !== next.life && answer.atMs > next.firstMs,
  };
}

/**
 * B and C are cut off together: they see each other, take the head for gone, and wait for it, for their grace.
 * @param {World} world @param {{ actor: any, file: string }[]} recorded one on each of them, and room for both elsewhere
 * @param {number} holdMs
 */
export async function pair({ head, b, c, times }, recorded, holdMs) {
  const livesBefore = recorded.map(({ file }) => livesOf(file).length);
  head.machine.cut();
  const cutMs = now();
  await until("the next lives", times.declareDeadMs + times.graceMs + 30_000, () =>
    recorded.every(({ file }, i) => livesOf(file).length > (livesBefore[i] ?? 0)),
  );
  await sleep(Math.max(0, holdMs - (now() - cutMs)));
  const before = [b.nodeId, c.nodeId];
  head.machine.heal();
  const healedMs = now();
  await until("both machines to be back", 60_000, async () => {
    const back = await Promise.all([b, c].map(({ pid }) => nodeOf(pid)));
    return back.every((node) => node !== undefined && !before.includes(node.nodeId));
  });
  const backMs = Math.round(now() - healedMs);
  for (const { actor } of recorded) await get(actor.call.remote(-3, 0));
  return recorded.map(({ file }) => {
    const { old: _old, next: _next, ...rest } = passage(file, cutMs);
    return { ...rest, backMs };
  });
}
