/**
 * The life of one placement group: what the head makes of each thing it learns about it.
 *
 * Decides what is set aside, opened and given back where, and when a node is looked for; placement-groups.ts feeds it and
 * carries out what it returns. Pure: no clock, no socket, no choice of nodes (that is bundle-placement.ts).
 *
 *   PENDING --all bundles prepared--> PREPARED --all committed--> CREATED --a node dies--> RESCHEDULING --> CREATED
 *   any of them --remove, end of the job or of the creator--> REMOVED
 *
 * Two phases. An attempt asks raylets to set bundles aside (prepare); only when all of the attempt are, it is decided,
 * written down, and they are opened (commit). One refusal or one dead node, and all of the attempt is given back. What was
 * decided stands: bundles that a node takes with it are placed again by a later attempt, and the others stay open meanwhile.
 *
 * Holds after every event (checkInvariants):
 *  1. A bundle is opened only when every bundle of the group had been set aside: no group is ever half there at its start.
 *  2. Nothing is set aside for the group while something of it is still being given back.
 *  3. STRICT_PACK lies on one node, STRICT_SPREAD on as many as it has bundles, lost ones aside.
 *  4. REMOVED is final, holds nothing, and has a reason.
 */

export type GroupPhase = "PENDING" | "PREPARED" | "CREATED" | "RESCHEDULING" | "REMOVED";
type Stage = "nowhere" | "preparing" | "prepared" | "committing" | "committed";

export interface BundleState {
  readonly stage: Stage;
  /** undefined exactly while nowhere. */
  readonly nodeId: string | undefined;
  /** Under which it was placed there. */
  readonly attempt: number;
}

/** Told to a raylet and not answered yet. */
export interface GivingBack {
  readonly nodeId: string;
  readonly attempt: number;
  /** Those of earlier attempts too. */
  readonly earlier: boolean;
}

export interface GroupState {
  readonly groupId: string;
  readonly strategy: string;
  readonly detached: boolean;
  readonly phase: GroupPhase;
  /** Grows with every visible change. */
  readonly version: number;
  /** All bundles were prepared once: since then the group stands. */
  readonly isDecided: boolean;
  readonly bundles: readonly BundleState[];
  /** Number of the latest attempt to place some of them. */
  readonly attempt: number;
  readonly givingBack: readonly GivingBack[];
  /** Why it waits for nodes; "" while it does not. */
  readonly pendingReason: string;
  readonly removedReason: string;
}

/** A bundle that a raylet says it holds. */
export interface HeldThere {
  readonly index: number;
  readonly attempt: number;
  readonly committed: boolean;
}

export type GroupEvent =
  | { kind: "created" }
  /** Nodes were found for the bundles that are nowhere: of each, in order of their indexes. */
  | { kind: "placed"; nodeIds: readonly string[] }
  | { kind: "waits"; reason: string }
  | { kind: "prepared"; nodeId: string; attempt: number }
  | { kind: "refused"; nodeId: string; attempt: number; reason: string }
  | { kind: "committed"; nodeId: string; attempt: number }
  /** The raylet does not have what it was to open. */
  | { kind: "commitFailed"; nodeId: string; attempt: number; reason: string }
  | { kind: "returned"; nodeId: string; attempt: number }
  | { kind: "nodeDied"; nodeId: string }
  | { kind: "removed"; reason: string }
  /** The state was read back by a new head, whose attempts are numbered from `attempt`. */
  | { kind: "headRestarted"; attempt: number }
  /** After that: a node is there, and holds this of the group. */
  | { kind: "nodeBack"; nodeId: string; held: readonly HeldThere[] };

export type GroupEffect =
  /** Write the state before anything that follows is carried out. */
  | { kind: "save" }
  /** Find nodes for the bundles that are nowhere, and answer with `placed` or `waits`. */
  | { kind: "place" }
  /** Ask the raylet and answer with `prepared` or `refused`. */
  | { kind: "prepare"; nodeId: string; attempt: number; indexes: readonly number[] }
  /** Ask the raylet and answer with `committed` or `commitFailed`. */
  | { kind: "commit"; nodeId: string; attempt: number; indexes: readonly number[] }
  /** Tell the raylet and answer with `returned`. */
  | { kind: "giveBack"; nodeId: string; attempt: number; earlier: boolean; reason: string }
  /** It is REMOVED: free its name, keep it in the history. */
  | { kind: "bury" };

export interface GroupStep {
  readonly state: GroupState;
  readonly effects: readonly GroupEffect[];
}

const NOWHERE: BundleState = Object.freeze({ stage: "nowhere", nodeId: undefined, attempt: 0 });

/** A group that nobody has heard of yet: the first event is `created`. */
export function newGroupState(
  group: Pick<GroupState, "groupId" | "strategy" | "detached"> & { readonly bundleCount: number },
  firstAttempt = 0,
): GroupState {
  const { groupId, strategy, detached, bundleCount } = group;
  return {
    groupId,
    strategy,
    detached,
    phase: "PENDING",
    version: 0,
    isDecided: false,
    bundles: Array.from({ length: bundleCount }, () => NOWHERE),
    attempt: firstAttempt,
    givingBack: [],
    pendingReason: "",
    removedReason: "",
  };
}

/** What becomes of the group, and what the shell has to do about it. */
export function step(state: GroupState, event: GroupEvent): GroupStep {
  const { state: next, effects } =
    state.phase === "REMOVED" ? stepRemoved(state, event) : stepLiving(state, event);
  const phase = phaseOf(next);
  const isSeen = phase !== state.phase || next.pendingReason !== state.pendingReason;
  return { state: { ...next, phase, version: isSeen ? next.version + 1 : next.version }, effects };
}

/** Indexes of bundles that have no node. */
export function unplaced({ bundles }: GroupState): number[] {
  return bundles.flatMap(({ stage }, index) => (stage === "nowhere" ? [index] : []));
}

function stepLiving(state: GroupState, event: GroupEvent): GroupStep {
  switch (event.kind) {
    case "created":
      return { state, effects: [{ kind: "save" }, { kind: "place" }] };
    case "waits":
      return event.reason === state.pendingReason
        ? same(state)
        : { state: { ...state, pendingReason: event.reason }, effects: [] };
    case "placed":
      return placed(state, event.nodeIds);
    case "prepared":
      return prepared(state, event.nodeId, event.attempt);
    case "refused":
      return isUnderWay(state, event) ? fails(state, event.reason) : same(state);
    case "committed":
      return committed(state, event.nodeId, event.attempt);
    case "commitFailed":
      return commitFailed(state, event);
    case "returned":
      return returned(state, event);
    case "nodeDied":
      return nodeDied(state, event.nodeId);
    case "removed":
      return removed(state, event.reason);
    case "headRestarted":
      return headRestarted(state, event.attempt);
    case "nodeBack":
      return nodeBack(state, event.nodeId, event.held);
  }
}

/** A removed group only waits for what it has to give back; what turns up late is sent back too. */
function stepRemoved(state: GroupState, event: GroupEvent): GroupStep {
  if (event.kind === "returned") return returned(state, event);
  if (event.kind === "nodeDied") return dropGivingBack(state, ({ nodeId }) => nodeId === event.nodeId);
  if (event.kind !== "nodeBack") return same(state);
  const { state: next } = dropGivingBack(state, ({ nodeId }) => nodeId === event.nodeId);
  if (event.held.length === 0) return same(next);
  return givesBack(next, [event.nodeId], state.attempt, true, state.removedReason);
}

function placed(state: GroupState, nodeIds: readonly string[]): GroupStep {
  if (isAttempting(state) || state.givingBack.length > 0) return same(state);
  const attempt = state.attempt + 1;
  const free = [...nodeIds];
  const bundles = state.bundles.map((bundle): BundleState => {
    const nodeId = bundle.stage === "nowhere" ? free.shift() : undefined;
    return nodeId === undefined ? bundle : { stage: "preparing", nodeId, attempt };
  });
  const next = { ...state, attempt, bundles, pendingReason: "" };
  return { state: next, effects: perNode(next, "preparing", "prepare") };
}

function prepared(state: GroupState, nodeId: string, attempt: number): GroupStep {
  if (!isUnderWay(state, { nodeId, attempt })) return same(state);
  const at = withStage(state, "prepared", (b) => b.stage === "preparing" && b.nodeId === nodeId);
  if (at.bundles.some(({ stage }) => stage === "preparing")) return { state: at, effects: [] };
  // A bundle that was lost meanwhile has to wait for the next attempt; before the decision there is none to lose.
  const decided = withStage({ ...at, isDecided: true }, "committing", (b) => b.stage === "prepared");
  const commits = perNode(decided, "committing", "commit").filter(
    (e) => "attempt" in e && e.attempt === attempt,
  );
  return placeIfFree(decided, [{ kind: "save" }, ...commits]);
}

function committed(state: GroupState, nodeId: string, attempt: number): GroupStep {
  const isMeant = (b: BundleState) =>
    b.stage === "committing" && b.nodeId === nodeId && b.attempt === attempt;
  if (!state.bundles.some(isMeant)) return same(state);
  return { state: withStage(state, "committed", isMeant), effects: [] };
}

function commitFailed(
  state: GroupState,
  { nodeId, attempt, reason }: { nodeId: string; attempt: number; reason: string },
): GroupStep {
  const isMeant = (b: BundleState) =>
    b.stage === "committing" && b.nodeId === nodeId && b.attempt === attempt;
  if (!state.bundles.some(isMeant)) return same(state);
  const lost = withoutPlace(state, isMeant);
  const { state: next, effects } = givesBack(lost, [nodeId], attempt, false, reason);
  return { state: next, effects: [{ kind: "save" }, ...effects] };
}

function returned(state: GroupState, { nodeId, attempt }: { nodeId: string; attempt: number }): GroupStep {
  return dropGivingBack(state, (each) => each.nodeId === nodeId && each.attempt === attempt);
}

function nodeDied(state: GroupState, nodeId: string): GroupStep {
  const hasBundle = state.bundles.some((bundle) => bundle.nodeId === nodeId);
  const freed = dropGivingBack(state, (each) => each.nodeId === nodeId);
  if (!hasBundle) return freed;
  const wasAttempt = state.bundles.some((b) => b.nodeId === nodeId && isInAttempt(b));
  const left = withoutPlace(freed.state, (bundle) => bundle.nodeId === nodeId);
  if (wasAttempt) {
    const { state: next, effects } = fails(left, `node ${nodeId} died`);
    return { state: next, effects: left.isDecided ? [{ kind: "save" }, ...effects] : effects };
  }
  return placeIfFree(left, [{ kind: "save" }]);
}

function removed(state: GroupState, reason: string): GroupStep {
  const nodeIds = [...new Set(state.bundles.flatMap(({ nodeId }) => nodeId ?? []))];
  const gone = {
    ...withoutPlace(state, () => true),
    phase: "REMOVED",
    pendingReason: "",
    removedReason: reason || "it was removed",
  } as const;
  const { state: next, effects } = givesBack(gone, nodeIds, state.attempt, true, gone.removedReason);
  return { state: next, effects: [{ kind: "save" }, { kind: "bury" }, ...effects] };
}

/**
 * What was not decided is as good as never begun: raylets that hold something of it are told when they come. What was
 * counts as open until its node says otherwise.
 */
function headRestarted(state: GroupState, attempt: number): GroupStep {
  const kept = withoutPlace(state, isInAttempt);
  const open = withStage(kept, "committed", ({ stage }) => stage === "committing");
  const next = { ...open, attempt: Math.max(attempt, state.attempt), givingBack: [], pendingReason: "" };
  return placeIfFree(next, []);
}

function nodeBack(state: GroupState, nodeId: string, held: readonly HeldThere[]): GroupStep {
  const lost = new Set<BundleState>();
  const unopened = new Set<BundleState>();
  const strays = new Set(held.map(({ attempt }) => attempt));
  state.bundles.forEach((bundle, index) => {
    if (bundle.nodeId !== nodeId || isInAttempt(bundle)) return;
    const there = held.find((each) => each.index === index && each.attempt === bundle.attempt);
    strays.delete(bundle.attempt);
    if (there === undefined) lost.add(bundle);
    else if (!there.committed) unopened.add(bundle);
  });
  const left = withoutPlace(state, (b) => lost.has(b));
  const next = withStage(left, "committing", (b) => unopened.has(b));
  const saves: GroupEffect[] = lost.size > 0 ? [{ kind: "save" }] : [];
  const commits = perNode(next, "committing", "commit").filter((e) => "nodeId" in e && e.nodeId === nodeId);
  // Not waited for: the raylet takes no bundle in twice.
  const backs = [...strays].map(
    (attempt): GroupEffect => ({
      kind: "giveBack",
      nodeId,
      attempt,
      earlier: false,
      reason: "the head does not know of it",
    }),
  );
  return placeIfFree(next, [...saves, ...commits, ...backs]);
}

// ---- parts

/** The attempt under way comes to nothing: all of it is given back, and nodes are looked for again. */
function fails(state: GroupState, reason: string): GroupStep {
  const nodeIds = [...new Set(state.bundles.flatMap((b) => (isInAttempt(b) ? [b.nodeId as string] : [])))];
  const next = { ...withoutPlace(state, isInAttempt), pendingReason: reason };
  return nodeIds.length === 0
    ? placeIfFree(next, [])
    : givesBack(next, nodeIds, state.attempt, false, "another bundle of its group could not be set aside");
}

function givesBack(
  state: GroupState,
  nodeIds: readonly string[],
  attempt: number,
  earlier: boolean,
  reason: string,
): GroupStep {
  const news = nodeIds.map((nodeId) => ({ nodeId, attempt, earlier }));
  return {
    state: { ...state, givingBack: [...state.givingBack, ...news] },
    effects: news.map((each) => ({ kind: "giveBack", ...each, reason })),
  };
}

function dropGivingBack(state: GroupState, isOver: (each: GivingBack) => boolean): GroupStep {
  const givingBack = state.givingBack.filter((each) => !isOver(each));
  if (givingBack.length === state.givingBack.length) return same(state);
  return placeIfFree({ ...state, givingBack }, []);
}

/** Looks for nodes, unless that has to wait for an attempt under way or for what is being given back. */
function placeIfFree(state: GroupState, before: readonly GroupEffect[]): GroupStep {
  const isFree =
    state.phase !== "REMOVED" &&
    unplaced(state).length > 0 &&
    !isAttempting(state) &&
    state.givingBack.length === 0;
  return { state, effects: isFree ? [...before, { kind: "place" }] : before };
}

function withStage(state: GroupState, stage: Stage, isMeant: (b: BundleState) => boolean): GroupState {
  return { ...state, bundles: state.bundles.map((b) => (isMeant(b) ? { ...b, stage } : b)) };
}

function withoutPlace(state: GroupState, isMeant: (b: BundleState) => boolean): GroupState {
  return { ...state, bundles: state.bundles.map((b) => (isMeant(b) ? NOWHERE : b)) };
}

/** One effect per node and attempt for the bundles in that stage. */
function perNode(state: GroupState, stage: Stage, kind: "prepare" | "commit"): GroupEffect[] {
  const parts = new Map<string, { nodeId: string; attempt: number; indexes: number[] }>();
  state.bundles.forEach(({ stage: at, nodeId, attempt }, index) => {
    if (at !== stage || nodeId === undefined) return;
    const key = `${nodeId}/${attempt}`;
    const part = parts.get(key);
    if (part === undefined) parts.set(key, { nodeId, attempt, indexes: [index] });
    else part.indexes.push(index);
  });
  return [...parts.values()].map((part) => ({ kind, ...part }));
}

const isInAttempt = ({ stage }: BundleState): boolean => stage === "preparing" || stage === "prepared";
const isAttempting = (state: GroupState): boolean => state.bundles.some(isInAttempt);

function isUnderWay(state: GroupState, { nodeId, attempt }: { nodeId: string; attempt: number }): boolean {
  return state.bundles.some((b) => b.stage === "preparing" && b.nodeId === nodeId && b.attempt === attempt);
}

function phaseOf({ phase, isDecided, bundles }: GroupState): GroupPhase {
  if (phase === "REMOVED") return phase;
  if (!isDecided) return "PENDING";
  if (bundles.every(({ stage }) => stage === "committed")) return "CREATED";
  const isFirst = phase === "PENDING" || phase === "PREPARED";
  return isFirst && bundles.every(({ stage }) => stage !== "nowhere" && stage !== "preparing")
    ? "PREPARED"
    : "RESCHEDULING";
}

const same = (state: GroupState): GroupStep => ({ state, effects: [] });

/** @throws Error when the state is one that must not be */
export function checkInvariants(state: GroupState): void {
  const wrong: string[] = [];
  const { phase, bundles, strategy, attempt, givingBack, isDecided, removedReason } = state;
  const nodeIds = bundles.flatMap(({ nodeId }) => nodeId ?? []);
  const isAt = (stage: Stage) => bundles.some((bundle) => bundle.stage === stage);
  if (!isDecided && (isAt("committing") || isAt("committed")))
    wrong.push("a bundle is opened before all are set aside");
  if (isAttempting(state) && givingBack.length > 0)
    wrong.push("set aside while something is being given back");
  if (bundles.some((b) => isInAttempt(b) && b.attempt !== attempt)) wrong.push("two attempts at once");
  if (bundles.some((b) => (b.stage === "nowhere") !== (b.nodeId === undefined)))
    wrong.push("a node is known exactly while a bundle is somewhere");
  if (strategy === "STRICT_PACK" && new Set(nodeIds).size > 1) wrong.push("STRICT_PACK on several nodes");
  if (strategy === "STRICT_SPREAD" && new Set(nodeIds).size < nodeIds.length)
    wrong.push("STRICT_SPREAD with two bundles on a node");
  if (phase === "REMOVED" && nodeIds.length > 0) wrong.push("REMOVED and still somewhere");
  if (phase === "REMOVED" && removedReason === "") wrong.push("REMOVED without a reason");
  if ((phase === "CREATED") !== (phase !== "REMOVED" && bundles.every(({ stage }) => stage === "committed")))
    wrong.push("CREATED is all bundles open");
  if (wrong.length > 0) throw new Error(`placement group ${state.groupId}: ${wrong.join("; ")}`);
}
