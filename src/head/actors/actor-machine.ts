/**
 * The life of one actor: what the head makes of each thing it learns about it.
 *
 * Decides state, incarnation and place; actor-directory.ts feeds it and carries out what it returns. Pure: no clock, no
 * socket, no choice of a node (that is placement.ts).
 *
 *   PENDING --placed--> STARTING --ALIVE--> ALIVE --crash, node death, kill to restart--> RESTARTING --ALIVE--> ALIVE
 *   any of them --exit, failed constructor, last crash, kill, death of the owner, end of the job--> DEAD
 *
 * RESTARTING covers the wait for a node and the start there of every life but the first. `incarnation` is the number
 * of the life; lives that began because a node was drained (`moves`) use up no restart.
 *
 * Holds after every event (checkInvariants):
 *  1. At most one incarnation lives: none is placed while its predecessor may still run (`stoppingOn`).
 *  2. incarnation <= maxRestarts + moves, unless maxRestarts is -1.
 *  3. An endpoint is known exactly while ALIVE, a node while STARTING or ALIVE, and none of both when DEAD.
 *  4. DEAD is final, and has a reason.
 */
import type { Endpoint } from "../../core/wire/gen/tsray/v1/common.ts";

export type ActorPhase = "PENDING" | "STARTING" | "ALIVE" | "RESTARTING" | "DEAD";

/** Kills remembered, so that a repeat does nothing, also at the next head. */
const KILL_REQUESTS_MAX = 8;

export interface ActorState {
  readonly actorId: string;
  readonly detached: boolean;
  /** -1 = for ever. */
  readonly maxRestarts: number;
  readonly phase: ActorPhase;
  /** Grows with every visible change. */
  readonly version: number;
  readonly incarnation: number;
  readonly moves: number;
  /** Where this incarnation was sent; undefined while it waits for a node. */
  readonly nodeId: string | undefined;
  /** The raylet there has taken it. */
  readonly accepted: boolean;
  /** Where the incarnation before this one is being ended; nothing is placed until that is done. */
  readonly stoppingOn: string | undefined;
  /** It leaves once what was submitted is done; it is not restarted any more. */
  readonly leaving: boolean;
  /** Ids of the last kills. */
  readonly killRequests: readonly string[];
  readonly endpoint: Endpoint | undefined;
  readonly pendingReason: string;
  readonly deathReason: string;
  readonly deathError: Buffer;
}

export type ActorEvent =
  | { kind: "created" }
  /** Nothing fits it now, or its raylet refused it: why. */
  | { kind: "waits"; reason: string }
  | { kind: "placed"; nodeId: string }
  | { kind: "accepted"; nodeId: string; incarnation: number }
  | { kind: "rejected"; nodeId: string; incarnation: number; reason: string }
  | { kind: "unschedulable"; reason: string }
  | { kind: "reported"; report: ActorWordFromRaylet }
  | { kind: "nodeDied"; nodeId: string; reason: string }
  /** The raylet has ended the incarnation that was to be replaced. */
  | { kind: "stopped"; nodeId: string }
  /** A repeat carries the same `requestId`; "" = none is told from another. */
  | { kind: "killed"; noRestart: boolean; graceful: boolean; reason: string; requestId: string }
  | { kind: "ownerDied"; reason: string }
  | { kind: "jobEnded"; reason: string }
  /** The state was read back by a new head: what runs goes on, what was under way is taken up again. */
  | { kind: "headRestarted" }
  /** A node registered, and this life of the actor runs there; undefined: none does. */
  | { kind: "nodeRegistered"; nodeId: string; running: number | undefined };

export interface ActorWordFromRaylet {
  readonly state: "ALIVE" | "INIT_FAILED" | "EXITED" | "CRASHED" | "MOVED";
  readonly incarnation: number;
  readonly nodeId: string;
  readonly endpoint: Endpoint | undefined;
  readonly reason: string;
  readonly error: Buffer;
}

export type ActorEffect =
  /** Write the state before anything that follows is carried out. */
  | { kind: "save" }
  /** Find a node and answer with `placed` or `waits`. */
  | { kind: "place" }
  /** Send this incarnation to the raylet and answer with `accepted` or `rejected`. */
  | { kind: "start"; nodeId: string; incarnation: number }
  /** End whatever incarnation runs there and answer with `stopped`. */
  | { kind: "stop"; nodeId: string; graceful: boolean; reason: string }
  /** It is DEAD: free its name, drop it from the indexes, keep it in the history. */
  | { kind: "bury" };

export interface ActorStep {
  readonly state: ActorState;
  readonly effects: readonly ActorEffect[];
}

const NO_BYTES = Buffer.alloc(0);

/** An actor that nobody has heard of yet: the first event is `created`. */
export function newActorState({
  actorId,
  detached,
  maxRestarts,
}: Pick<ActorState, "actorId" | "detached" | "maxRestarts">): ActorState {
  return {
    // Of a spec nothing else: the state outlives the constructor's arguments.
    actorId,
    detached,
    maxRestarts,
    phase: "PENDING",
    version: 0,
    incarnation: 0,
    moves: 0,
    nodeId: undefined,
    accepted: false,
    stoppingOn: undefined,
    leaving: false,
    killRequests: [],
    endpoint: undefined,
    pendingReason: "",
    deathReason: "",
    deathError: NO_BYTES,
  };
}

/** What becomes of the actor, and what the shell has to do about it. */
export function step(state: ActorState, event: ActorEvent): ActorStep {
  return state.phase === "DEAD" ? stepDead(state, event) : stepLiving(state, event);
}

function stepLiving(state: ActorState, event: ActorEvent): ActorStep {
  switch (event.kind) {
    case "created":
      return changed(state, {}, [{ kind: "save" }, { kind: "place" }]);
    case "waits":
      return waits(state, event.reason);
    case "placed":
      return placed(state, event.nodeId);
    case "accepted":
      return isPlacedAt(state, event) ? { state: { ...state, accepted: true }, effects: [] } : same(state);
    case "rejected":
      return rejected(state, event);
    case "unschedulable":
      return dies(state, event.reason);
    case "reported":
      return reported(state, event.report);
    case "nodeDied":
      return nodeDied(state, event.nodeId, event.reason);
    case "stopped":
      return stopped(state, event.nodeId);
    case "killed":
      return killed(state, event);
    case "ownerDied":
    case "jobEnded":
      return state.detached ? same(state) : dies(state, event.reason);
    case "headRestarted":
      return headRestarted(state);
    case "nodeRegistered":
      return nodeRegistered(state, event);
  }
}

/** A dead actor changes no more; a process of it that still shows up is ended. */
function stepDead(state: ActorState, event: ActorEvent): ActorStep {
  const shownOn =
    event.kind === "reported" && event.report.state === "ALIVE"
      ? event.report.nodeId
      : event.kind === "nodeRegistered" && event.running !== undefined
        ? event.nodeId
        : "";
  if (shownOn === "") return same(state);
  return { state, effects: [{ kind: "stop", nodeId: shownOn, graceful: false, reason: state.deathReason }] };
}

function waits(state: ActorState, reason: string): ActorStep {
  if (state.nodeId !== undefined || state.pendingReason === reason) return same(state);
  return changed(state, { pendingReason: reason }, []);
}

function placed(state: ActorState, nodeId: string): ActorStep {
  if (state.nodeId !== undefined || state.stoppingOn !== undefined) return same(state);
  const phase = state.phase === "PENDING" ? "STARTING" : "RESTARTING";
  return changed(state, { phase, nodeId, accepted: false, pendingReason: "" }, [
    { kind: "save" },
    { kind: "start", nodeId, incarnation: state.incarnation },
  ]);
}

function rejected(
  state: ActorState,
  event: { nodeId: string; incarnation: number; reason: string },
): ActorStep {
  if (!isPlacedAt(state, event) || state.phase === "ALIVE") return same(state);
  return changed(state, { ...unplaced(state), pendingReason: event.reason }, [
    { kind: "save" },
    { kind: "place" },
  ]);
}

function reported(state: ActorState, report: ActorWordFromRaylet): ActorStep {
  const isOfPlaced = report.nodeId === "" || report.nodeId === state.nodeId;
  if (report.incarnation !== state.incarnation || state.nodeId === undefined || !isOfPlaced)
    return same(state);
  switch (report.state) {
    case "ALIVE": {
      if (state.phase === "ALIVE" || report.endpoint === undefined) return same(state);
      const leave: ActorEffect[] = state.leaving
        ? [{ kind: "stop", nodeId: state.nodeId, graceful: true, reason: state.deathReason }]
        : [];
      const alive = { phase: "ALIVE", endpoint: report.endpoint, accepted: true } as const;
      return changed(state, alive, [{ kind: "save" }, ...leave]);
    }
    case "INIT_FAILED":
      return ended(state, report.reason || "its constructor failed", report.error);
    case "EXITED":
      return ended(state, (state.leaving && state.deathReason) || report.reason || "it exited");
    case "MOVED":
      if (state.leaving) return ended(state, state.deathReason);
      return restarts({ ...state, moves: state.moves + 1 }, undefined, [{ kind: "place" }]);
    case "CRASHED":
      return crashes(state, report.reason || "its worker process ended unexpectedly");
  }
}

function nodeDied(state: ActorState, nodeId: string, reason: string): ActorStep {
  if (state.stoppingOn === nodeId) return stopped(state, nodeId);
  if (state.nodeId !== nodeId) return same(state);
  // It was on its way there and nobody ever saw it run: the same life is tried elsewhere.
  if (!state.accepted && state.phase !== "ALIVE") {
    return changed(state, { ...unplaced(state), pendingReason: "" }, [{ kind: "save" }, { kind: "place" }]);
  }
  return crashes(state, reason);
}

function stopped(state: ActorState, nodeId: string): ActorStep {
  if (state.stoppingOn !== nodeId) return same(state);
  return { state: { ...state, stoppingOn: undefined }, effects: [{ kind: "save" }, { kind: "place" }] };
}

function killed(
  before: ActorState,
  event: { noRestart: boolean; graceful: boolean; reason: string; requestId: string },
): ActorStep {
  const { requestId } = event;
  if (requestId !== "" && before.killRequests.includes(requestId)) return same(before);
  const killRequests = [...before.killRequests, requestId].slice(-KILL_REQUESTS_MAX);
  const state = requestId === "" ? before : { ...before, killRequests };
  const reason = event.reason || "it was killed";
  if (event.graceful) return leaves(state, reason);
  if (event.noRestart || !hasRestartLeft(state)) return dies(state, reason);
  const { nodeId, stoppingOn } = state;
  if (nodeId === undefined)
    return restarts(state, stoppingOn, stoppingOn === undefined ? [{ kind: "place" }] : []);
  return restarts(state, nodeId, [{ kind: "stop", nodeId, graceful: false, reason }]);
}

/** Nobody can call it any more, but calls made before may still be on their way to it: it is asked to leave once it lives. */
function leaves(state: ActorState, reason: string): ActorStep {
  if (state.leaving) return same(state);
  const stop: ActorEffect[] =
    state.phase === "ALIVE" && state.nodeId !== undefined
      ? [{ kind: "stop", nodeId: state.nodeId, graceful: true, reason }]
      : [];
  return { state: { ...state, leaving: true, deathReason: reason }, effects: [{ kind: "save" }, ...stop] };
}

/** Where it runs, or is being ended, its node will say so; else it is placed as it was to be. */
function headRestarted(state: ActorState): ActorStep {
  if (state.nodeId !== undefined || state.stoppingOn !== undefined)
    return { state: { ...state, accepted: state.phase === "ALIVE" }, effects: [] };
  return changed(state, { pendingReason: "" }, [{ kind: "place" }]);
}

/**
 * Commands may have been lost, with a connection or with the head that gave them: they are given again. An end that the
 * node has seen is reported by it until the head has it, so what is missing there is nothing to act on.
 */
function nodeRegistered(
  state: ActorState,
  { nodeId, running }: { nodeId: string; running: number | undefined },
): ActorStep {
  const stop: ActorEffect = { kind: "stop", nodeId, graceful: false, reason: "it was replaced" };
  if (state.stoppingOn === nodeId) return { state, effects: [stop] };
  if (state.nodeId !== nodeId) return { state, effects: running === undefined ? [] : [stop] };
  const isHere = running === state.incarnation;
  if (state.leaving && isHere && state.phase === "ALIVE")
    return { state, effects: [{ ...stop, graceful: true, reason: state.deathReason }] };
  if (state.phase === "ALIVE" || state.accepted) return same(state);
  if (isHere) return { state: { ...state, accepted: true }, effects: [] };
  return { state, effects: [{ kind: "start", nodeId, incarnation: state.incarnation }] };
}

function crashes(state: ActorState, reason: string): ActorStep {
  if (!hasRestartLeft(state)) return ended(state, reason);
  return restarts(state, undefined, [{ kind: "place" }]);
}

/** The next life begins; where the present one has to be ended first, it is placed when that is done. */
function restarts(state: ActorState, stoppingOn: string | undefined, effects: ActorEffect[]): ActorStep {
  const next = {
    ...unplaced(state),
    phase: "RESTARTING",
    incarnation: state.incarnation + 1,
    stoppingOn,
    pendingReason: "",
  } as const;
  return changed(state, next, [{ kind: "save" }, ...effects]);
}

/** DEAD by decision: a process that runs is ended. */
function dies(state: ActorState, reason: string): ActorStep {
  const stopOn = state.nodeId ?? state.stoppingOn;
  const { state: dead, effects } = ended(state, reason);
  if (stopOn === undefined) return { state: dead, effects };
  return { state: dead, effects: [...effects, { kind: "stop", nodeId: stopOn, graceful: false, reason }] };
}

/** DEAD, and its process has ended already. */
function ended(state: ActorState, reason: string, error: Buffer = NO_BYTES): ActorStep {
  const dead = {
    phase: "DEAD",
    nodeId: undefined,
    accepted: false,
    stoppingOn: undefined,
    endpoint: undefined,
    pendingReason: "",
    deathReason: reason,
    deathError: error,
  } as const;
  return changed(state, dead, [{ kind: "save" }, { kind: "bury" }]);
}

function unplaced(state: ActorState) {
  const phase = state.phase === "STARTING" ? "PENDING" : state.phase;
  return { phase, nodeId: undefined, accepted: false, endpoint: undefined } as const;
}

function hasRestartLeft(state: ActorState): boolean {
  return !state.leaving && (state.maxRestarts === -1 || state.incarnation < state.maxRestarts + state.moves);
}

function isPlacedAt(state: ActorState, at: { nodeId: string; incarnation: number }): boolean {
  return state.nodeId === at.nodeId && state.incarnation === at.incarnation;
}

const same = (state: ActorState): ActorStep => ({ state, effects: [] });

function changed(state: ActorState, change: Partial<ActorState>, effects: ActorEffect[]): ActorStep {
  return { state: { ...state, ...change, version: state.version + 1 }, effects };
}

/** @throws Error when the state is one that must not be */
export function checkInvariants(state: ActorState): void {
  const wrong: string[] = [];
  const { phase, nodeId, stoppingOn, endpoint } = state;
  if (nodeId !== undefined && stoppingOn !== undefined)
    wrong.push("placed while its predecessor may still run");
  if (state.maxRestarts !== -1 && state.incarnation > state.maxRestarts + state.moves)
    wrong.push("restarted too often");
  if ((phase === "ALIVE") !== (endpoint !== undefined))
    wrong.push("an endpoint is known exactly while ALIVE");
  if ((phase === "STARTING" || phase === "ALIVE") && nodeId === undefined)
    wrong.push(`${phase} without a node`);
  if ((phase === "PENDING" || phase === "DEAD") && nodeId !== undefined) wrong.push(`${phase} on a node`);
  if (phase === "PENDING" && state.incarnation !== 0) wrong.push("PENDING in a later life");
  if (phase === "DEAD" && state.deathReason === "") wrong.push("DEAD without a reason");
  if (wrong.length > 0) throw new Error(`actor ${state.actorId}: ${wrong.join("; ")}`);
}
