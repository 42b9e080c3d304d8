// Goal: every way an actor's life can go, told as transcripts, with the invariants checked after each event.
// Method: words in, the machine's state and effects out as lines of text. No clock, no socket.
import { expect, test } from "vitest";
import { Endpoint } from "../../core/wire/gen/tsray/v1/common.ts";
import {
  type ActorEvent,
  type ActorState,
  type ActorWordFromRaylet,
  checkInvariants,
  newActorState,
  step,
} from "./actor-machine.ts";

const endpoint = Endpoint.fromPartial({ processId: "w1", unixPath: "/w1" });

/** "ALIVE n1 0" is a report; "placed n1", "kill", "kill restart", "kill graceful" ... the rest. */
function parse(line: string): ActorEvent {
  const [word = "", a = "", b = ""] = line.split(" ");
  switch (word) {
    case "placed":
    case "stopped":
      return { kind: word, nodeId: a };
    case "accepted":
      return { kind: word, nodeId: a, incarnation: Number(b) };
    case "rejected":
      return { kind: word, nodeId: a, incarnation: Number(b), reason: "no room" };
    case "waits":
    case "unschedulable":
      return { kind: word, reason: a };
    case "nodeRegistered":
      return { kind: word, nodeId: a, running: b === "" || b === "none" ? undefined : Number(b) };
    case "nodeDied":
      return { kind: word, nodeId: a, reason: `node ${a} died` };
    case "kill":
      return { kind: "killed", noRestart: a === "", graceful: a === "graceful", reason: "", requestId: "" };
    case "ownerDied":
    case "jobEnded":
      return { kind: word, reason: word };
    case "created":
    case "headRestarted":
      return { kind: word };
    default: {
      const state = word as ActorWordFromRaylet["state"];
      const error = state === "INIT_FAILED" ? Buffer.from("boom") : Buffer.alloc(0);
      return {
        kind: "reported",
        report: { state, nodeId: a, incarnation: Number(b), endpoint, reason: "", error },
      };
    }
  }
}

/** Plays the lines and tells after each: state, incarnation, node, effects. */
function play(options: { maxRestarts?: number; detached?: boolean }, lines: string[]) {
  let state = newActorState({
    actorId: "a",
    detached: options.detached ?? false,
    maxRestarts: options.maxRestarts ?? 0,
  });
  const told = lines.map((line) => {
    const answer = step(state, parse(line));
    expect(answer.state.version).toBeGreaterThanOrEqual(state.version);
    ({ state } = answer);
    checkInvariants(state);
    const effects = answer.effects.map((effect) => {
      if (effect.kind === "start") return `start ${effect.nodeId} i${effect.incarnation}`;
      if (effect.kind === "stop") return `stop ${effect.nodeId}${effect.graceful ? " graceful" : ""}`;
      return effect.kind;
    });
    return `${line} => ${state.phase} i${state.incarnation} ${state.nodeId ?? "-"} [${effects.join(", ")}]`;
  });
  return { told, state };
}

const UP = ["created", "placed n1", "accepted n1 0", "ALIVE n1 0"];
const last = (run: { told: string[] }) => run.told.at(-1);

test("lives and exits", () => {
  const { told, state } = play({ maxRestarts: 3 }, [...UP, "ALIVE n1 0", "EXITED n1 0", "CRASHED n1 0"]);
  expect(told).toEqual([
    "created => PENDING i0 - [save, place]",
    "placed n1 => STARTING i0 n1 [save, start n1 i0]",
    "accepted n1 0 => STARTING i0 n1 []",
    "ALIVE n1 0 => ALIVE i0 n1 [save]",
    "ALIVE n1 0 => ALIVE i0 n1 []",
    "EXITED n1 0 => DEAD i0 - [save, bury]",
    "CRASHED n1 0 => DEAD i0 - []",
  ]);
  expect(state.deathReason).toBe("it exited");
});

test("restarts as often as it may, and ignores words from earlier lives", () => {
  const { told } = play({ maxRestarts: 1 }, [
    ...UP,
    "CRASHED n1 0",
    "CRASHED n1 0",
    "placed n2",
    "ALIVE n1 0",
    "ALIVE n2 1",
    "CRASHED n1 0",
    "CRASHED n2 1",
  ]);
  expect(told.slice(4)).toEqual([
    "CRASHED n1 0 => RESTARTING i1 - [save, place]",
    "CRASHED n1 0 => RESTARTING i1 - []",
    "placed n2 => RESTARTING i1 n2 [save, start n2 i1]",
    "ALIVE n1 0 => RESTARTING i1 n2 []",
    "ALIVE n2 1 => ALIVE i1 n2 [save]",
    "CRASHED n1 0 => ALIVE i1 n2 []",
    "CRASHED n2 1 => DEAD i1 - [save, bury]",
  ]);
});

test("restarts for ever with -1", () => {
  const lives = Array.from({ length: 50 }, (_, i) => [
    `placed n${i}`,
    `ALIVE n${i} ${i}`,
    `CRASHED n${i} ${i}`,
  ]).flat();
  expect(last(play({ maxRestarts: -1 }, ["created", ...lives]))).toContain("RESTARTING i50 - [save, place]");
});

test("a failed constructor is final and keeps its error", () => {
  const { told, state } = play({ maxRestarts: 5 }, ["created", "placed n1", "INIT_FAILED n1 0"]);
  expect(told.at(-1)).toBe("INIT_FAILED n1 0 => DEAD i0 - [save, bury]");
  expect(state.deathError.toString()).toBe("boom");
});

test("a refusal puts it back in the queue in the same life", () => {
  const { told, state } = play({}, [
    "created",
    "placed n1",
    "rejected n1 0",
    "rejected n1 0",
    "waits CPU",
    "placed n2",
  ]);
  expect(told.slice(2)).toEqual([
    "rejected n1 0 => PENDING i0 - [save, place]",
    "rejected n1 0 => PENDING i0 - []",
    "waits CPU => PENDING i0 - []",
    "placed n2 => STARTING i0 n2 [save, start n2 i0]",
  ]);
  expect(state.pendingReason).toBe("");
});

test("the death of its node costs a life only once a raylet has taken it", () => {
  expect(last(play({}, ["created", "placed n1", "nodeDied n1"]))).toBe(
    "nodeDied n1 => PENDING i0 - [save, place]",
  );
  expect(last(play({}, [...UP, "nodeDied n2"]))).toBe("nodeDied n2 => ALIVE i0 n1 []");
  expect(last(play({}, [...UP, "nodeDied n1"]))).toBe("nodeDied n1 => DEAD i0 - [save, bury]");
  expect(last(play({ maxRestarts: 1 }, [...UP, "nodeDied n1"]))).toBe(
    "nodeDied n1 => RESTARTING i1 - [save, place]",
  );
});

test("a kill is final, and ends a process that shows up later", () => {
  const { told } = play({ maxRestarts: 1 }, [
    "created",
    "placed n1",
    "kill",
    "ALIVE n1 0",
    "kill",
    "created",
    "placed n1",
  ]);
  expect(told.slice(2)).toEqual([
    "kill => DEAD i0 - [save, bury, stop n1]",
    "ALIVE n1 0 => DEAD i0 - [stop n1]",
    "kill => DEAD i0 - []",
    "created => DEAD i0 - []",
    "placed n1 => DEAD i0 - []",
  ]);
  expect(last(play({}, ["created", "kill"]))).toBe("kill => DEAD i0 - [save, bury]");
});

test("a kill that lets it restart ends the old process before the next is placed", () => {
  const { told } = play({ maxRestarts: 2 }, [
    ...UP,
    "kill restart",
    "placed n2",
    "kill restart",
    "CRASHED n1 0",
    "stopped n1",
    "placed n2",
  ]);
  expect(told.slice(4)).toEqual([
    "kill restart => RESTARTING i1 - [save, stop n1]",
    "placed n2 => RESTARTING i1 - []",
    "kill restart => RESTARTING i2 - [save]",
    "CRASHED n1 0 => RESTARTING i2 - []",
    "stopped n1 => RESTARTING i2 - [save, place]",
    "placed n2 => RESTARTING i2 n2 [save, start n2 i2]",
  ]);
  expect(last(play({}, [...UP, "kill restart"]))).toBe("kill restart => DEAD i0 - [save, bury, stop n1]");
  expect(last(play({ maxRestarts: 1 }, ["created", "kill restart"]))).toContain(
    "RESTARTING i1 - [save, place]",
  );
  expect(last(play({ maxRestarts: 1 }, [...UP, "kill restart", "nodeDied n1"]))).toContain("[save, place]");
});

test("leaves in order: asked once it lives, and never restarted", () => {
  const { told, state } = play({ maxRestarts: 5 }, [
    "created",
    "kill graceful",
    "placed n1",
    "ALIVE n1 0",
    "kill graceful",
    "EXITED n1 0",
  ]);
  expect(told.slice(1)).toEqual([
    "kill graceful => PENDING i0 - [save]",
    "placed n1 => STARTING i0 n1 [save, start n1 i0]",
    "ALIVE n1 0 => ALIVE i0 n1 [save, stop n1 graceful]",
    "kill graceful => ALIVE i0 n1 []",
    "EXITED n1 0 => DEAD i0 - [save, bury]",
  ]);
  expect(state.deathReason).toBe("it was killed");
  expect(last(play({ maxRestarts: 5 }, [...UP, "kill graceful", "CRASHED n1 0"]))).toContain("DEAD");
});

test("goes with its owner and its job, unless it is detached", () => {
  for (const end of ["ownerDied", "jobEnded"]) {
    expect(last(play({ maxRestarts: 5 }, [...UP, end]))).toBe(`${end} => DEAD i0 - [save, bury, stop n1]`);
    expect(last(play({ detached: true }, [...UP, end]))).toBe(`${end} => ALIVE i0 n1 []`);
  }
});

test("a new head: what runs goes on, what waited is placed", () => {
  for (const options of [{}, { detached: true }]) {
    expect(last(play(options, ["created", "headRestarted"]))).toContain("PENDING i0 - [place]");
    expect(last(play(options, [...UP, "headRestarted"]))).toBe("headRestarted => ALIVE i0 n1 []");
    expect(last(play(options, [...UP, "headRestarted", "nodeRegistered n1 0"]))).toContain("ALIVE i0 n1 []");
    expect(last(play(options, [...UP, "headRestarted", "nodeDied n1"]))).toContain("DEAD");
  }
});

test("a node that registers is given again what it may not have heard", () => {
  const started = ["created", "placed n1"];
  expect(last(play({}, [...started, "nodeRegistered n1 none"]))).toContain("STARTING i0 n1 [start n1 i0]");
  expect(last(play({}, [...started, "nodeRegistered n1 0"]))).toContain("STARTING i0 n1 []");
  // Its end is on the way, from the raylet itself.
  expect(last(play({}, [...UP, "nodeRegistered n1 none"]))).toContain("ALIVE i0 n1 []");
  const replaced = [...UP, "kill restart", "headRestarted", "nodeRegistered n1 0"];
  expect(play({ maxRestarts: 1 }, [...replaced, "stopped n1"]).told.slice(-2)).toEqual([
    "nodeRegistered n1 0 => RESTARTING i1 - [stop n1]",
    "stopped n1 => RESTARTING i1 - [save, place]",
  ]);
});

test("what runs where it should not is ended", () => {
  expect(last(play({}, [...UP, "nodeRegistered n2 0"]))).toContain("ALIVE i0 n1 [stop n2]");
  expect(last(play({}, [...UP, "kill", "nodeRegistered n1 0"]))).toContain("DEAD i0 - [stop n1]");
});

// Method: 300 seeded runs of random events in random order, stale and repeated ones among them.
test("keeps its invariants whatever comes", () => {
  let seed = 7;
  const random = (n: number) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return (seed >>> 8) % n;
  };
  const words = [
    "placed",
    "stopped",
    "accepted",
    "rejected",
    "waits",
    "nodeDied",
    "kill",
    "kill restart",
    "kill graceful",
  ];
  const more = [
    "ALIVE",
    "ALIVE",
    "ALIVE",
    "CRASHED",
    "EXITED",
    "INIT_FAILED",
    "ownerDied",
    "headRestarted",
    "nodeRegistered",
    "nodeRegistered",
    "placed",
    "placed",
  ];
  for (let run = 0; run < 300; run += 1) {
    let state: ActorState = newActorState({
      actorId: "a",
      detached: random(2) === 0,
      maxRestarts: random(4) - 1,
    });
    const lines: string[] = [];
    for (let i = 0; i < 40; i += 1) {
      const word = [...words, ...more][random(words.length + more.length)] as string;
      const line = word.startsWith("kill")
        ? word
        : `${word} n${random(2)} ${Math.max(0, state.incarnation - random(2))}`;
      lines.push(line);
      const wasDead = state.phase === "DEAD";
      const answer = step(state, parse(line));
      ({ state } = answer);
      expect(() => checkInvariants(state), lines.join("\n")).not.toThrow();
      if (wasDead) expect(state.phase).toBe("DEAD");
      if (answer.effects.some((effect) => effect.kind === "start")) expect(state.stoppingOn).toBeUndefined();
    }
  }
});
