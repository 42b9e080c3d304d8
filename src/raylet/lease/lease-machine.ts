/**
 * Which worker of this node is lent to which owner, and which demand is sent to another node.
 *
 * Step 4 of the main path: an owner states demand, this file decides, lease-service.ts carries the decision out.
 * Pure: events in, effects out; no clock, socket or process.
 *
 * Holds after every event (checkInvariants):
 *  1. Every lease names a worker that is known, and every worker its leases.
 *  2. available + held = total for each resource; a lease whose CPUs were given back holds none.
 *  3. At most one lease of a worker holds its CPUs: one task runs, the others wait in get.
 */
import { type BundlePlace, exceptCpu, onlyCpu, takenAt } from "../../core/base/bundles.ts";
import { describeTerms, fitsLabels, type Labels } from "../../core/base/labels.ts";
import { add, describeMissing, fits, type Resources, subtract } from "../../core/base/resources.ts";
import { OtherViews } from "../scheduling/other-views.ts";
import { type NodeView, pickHybrid, pickSpread } from "../scheduling/policy.ts";
import { Bundles, type Share } from "./bundles.ts";
import { GpuSlots } from "./gpu-slots.ts";
import type { DemandStatement, LeaseEffect, LeaseEvent } from "./lease-events.ts";

export type { DemandStatement, LeaseEffect, LeaseEvent, Strategy } from "./lease-events.ts";

interface Demand extends DemandStatement {
  /** As the user asked for them; `resources` are as the ledger has them. */
  readonly asked: Resources;
  /** The labels of this node are as they must be. */
  readonly fitsHere: boolean;
  count: number;
  reason: string;
  /** Ticks since it was stated. */
  ticks: number;
  /** It would run here if there were a worker. */
  awaitsWorker: boolean;
  /** Nodes to which part of it was sent to wait. */
  readonly patientAt: Set<string>;
  /** When it was last served, in rounds: who waited longest comes first among equals. */
  servedAt: number;
}

interface LeaseState {
  readonly id: string;
  readonly owner: string;
  readonly classKey: string;
  readonly workerId: string;
  readonly share: Share;
  readonly retriable: boolean;
  reclaimed: boolean;
  /** Its tasks wait in get: the CPUs were given back meanwhile. */
  cpuReleased: boolean;
}

interface WorkerState {
  readonly id: string;
  readonly jobId: string;
  readonly pool: string;
  /** As the worker last said: every task it has begun waits in get. */
  blocked: boolean;
  readonly leases: Set<string>;
  /** It is being ended. */
  condemned: boolean;
}

/** A node may join after a task has been pinned to it; the news of it takes less than this. */
const UNHEARD_OF_TICKS = 2;

/** Nodes at which a demand waits at the same time, beside here. */
const PATIENT_NODES_MAX = 4;

/** What one demand comes to in one round. */
type Verdict = "granted" | "redirected" | "waits" | "settled";

export class LeaseMachine {
  readonly #nodeId: string;
  readonly #labels: Labels;
  /** With what placement groups have here, under their names. */
  readonly total: Record<string, number>;
  readonly available: Record<string, number>;
  readonly bundles: Bundles;
  /** Task workers of one job at most. */
  readonly #workersPerJobMax: number;
  /** From so many task workers of a job on, blocked ones are lent again rather than more started. */
  readonly #lendBlockedFrom: number;
  /** Workers of a job that start at the same time. */
  readonly #startingMax: number;
  readonly #demands = new Map<string, Demand>();
  readonly #leases = new Map<string, LeaseState>();
  readonly #workers = new Map<string, WorkerState>();
  readonly #starting = new Map<string, number>();
  readonly #nodes = new OtherViews();
  readonly #deadNodes = new Set<string>();
  readonly #leasesPerClass = new Map<string, number>();
  #spreadCursor = 0;
  #isDraining = false;
  #served = 0;
  #nextLease = 1;

  constructor(options: {
    nodeId: string;
    labels: Labels;
    total: Resources;
    gpuIds: readonly string[];
    workersPerJobMax: number;
    lendBlockedFrom: number;
    startingMax: number;
  }) {
    this.#nodeId = options.nodeId;
    this.#labels = options.labels;
    this.total = { ...options.total };
    this.available = { ...options.total };
    this.bundles = new Bundles(this.total, this.available, new GpuSlots(options.gpuIds));
    this.#workersPerJobMax = options.workersPerJobMax;
    this.#lendBlockedFrom = options.lendBlockedFrom;
    this.#startingMax = options.startingMax;
  }

  step(event: LeaseEvent): LeaseEffect[] {
    const effects: LeaseEffect[] = [];
    switch (event.kind) {
      case "demand":
        this.#state(event.demand);
        break;
      case "ownerGone":
        for (const [key, demand] of this.#demands)
          if (demand.owner === event.owner) this.#demands.delete(key);
        for (const lease of [...this.#leases.values()]) if (lease.owner === event.owner) this.#release(lease);
        break;
      case "workerIdle":
        if (!this.#workers.has(event.workerId)) {
          const { workerId: id, jobId, pool } = event;
          if (!event.wasReady) this.#started(pool, 1);
          this.#workers.set(id, { id, jobId, pool, blocked: false, leases: new Set(), condemned: false });
        }
        break;
      case "workerBlocked":
        this.#setBlocked(event.workerId, event.blocked, event.runningFor);
        break;
      case "workerGone":
        if (!event.wasReady) this.#started(event.pool, 1);
        this.#workerGone(event.workerId);
        break;
      case "leaseReturned": {
        const lease = this.#leases.get(event.leaseId);
        if (lease) this.#release(lease);
        break;
      }
      case "nodeView":
        this.#nodes.reported(event.node);
        break;
      case "nodeGone":
        this.#nodes.gone(event.nodeId);
        this.#deadNodes.add(event.nodeId);
        break;
      case "tick":
        this.#nodes.tick();
        for (const demand of this.#demands.values()) {
          demand.ticks += 1;
          demand.patientAt.clear();
        }
        break;
      case "drain":
        this.#isDraining = true;
        for (const lease of this.#leases.values()) {
          if (lease.reclaimed) continue;
          lease.reclaimed = true;
          effects.push({ kind: "reclaim", owner: lease.owner, leaseId: lease.id });
        }
        break;
      case "workersFail":
        for (const [key, { owner, classId, pool }] of this.#demands) {
          if (pool !== event.pool) continue;
          effects.push({ kind: "unschedulable", what: event.what, owner, classId, reason: event.reason });
          this.#demands.delete(key);
        }
        break;
      case "startsFailed":
        this.#started(event.pool, event.count);
        break;
      case "jobEnded":
        for (const pool of [...this.#starting.keys()])
          if (isPoolOf(pool, event.jobId)) this.#starting.delete(pool);
        for (const [key, demand] of this.#demands)
          if (demand.jobId === event.jobId) this.#demands.delete(key);
        break;
    }
    this.#schedule(effects);
    return effects;
  }

  /** Takes resources outside leases (actors). @returns undefined when they are not free */
  acquire(resources: Resources, place: BundlePlace): Share | undefined {
    return this.#isDraining ? undefined : this.bundles.take(resources, place);
  }

  /** Gives back what {@link acquire} took; then `step` any event, or {@link reschedule}. */
  giveBack(share: Share): void {
    this.bundles.give(share);
  }

  /** Workers that run tasks in bundles of the group. */
  workersIn(groupId: string): string[] {
    return [...this.#leases.values()].flatMap((l) =>
      l.share.bundle?.groupId === groupId ? [l.workerId] : [],
    );
  }

  /** An actor begins, or ends, to wait: its CPUs are lent out meanwhile, and may be overdrawn after. */
  lendCpu(share: Share, isLent: boolean): void {
    (isLent ? add : subtract)(this.available, onlyCpu(share.resources));
  }

  /** Workers of a pool were started; each ends this with `workerIdle`, `workerGone` or `startsFailed`. Decides nothing. */
  noteStarting(pool: string, count: number): void {
    this.#starting.set(pool, (this.#starting.get(pool) ?? 0) + count);
  }

  reschedule(): LeaseEffect[] {
    const effects: LeaseEffect[] = [];
    this.#schedule(effects);
    return effects;
  }

  /** Takes a worker out of the pool of tasks: it becomes an actor's. @returns its id, or undefined when none is idle */
  takeIdleWorker(pool: string): string | undefined {
    const worker = this.#idleWorker(pool);
    if (worker) this.#workers.delete(worker.id);
    return worker?.id;
  }

  /** Takes an idle worker out: it is asked to leave. Comes back with `workerIdle`, or ends with `workerGone`. */
  withdraw(workerId: string): void {
    if (this.#workers.get(workerId)?.leases.size === 0) this.#workers.delete(workerId);
  }

  /** It is being ended, and lent to nobody meanwhile, whoever gives a lease on it back. Ends with `workerGone`. */
  condemn(workerId: string): void {
    const worker = this.#workers.get(workerId);
    if (worker !== undefined) worker.condemned = true;
  }

  idleWorkers(): { workerId: string; jobId: string }[] {
    return [...this.#workers.values()].filter(isIdle).map((w) => ({ workerId: w.id, jobId: w.jobId }));
  }

  leasesOf(workerId: string): { leaseId: string; owner: string; retriable: boolean; groupId: string }[] {
    return [...(this.#workers.get(workerId)?.leases ?? [])].flatMap((leaseId) => {
      const lease = this.#leases.get(leaseId);
      if (lease === undefined) return [];
      const { owner, retriable, share } = lease;
      return [{ leaseId, owner, retriable, groupId: share.bundle?.groupId ?? "" }];
    });
  }

  /** Of all owners together. */
  get leaseCount(): number {
    return this.#leases.size;
  }

  workerOf(leaseId: string): string | undefined {
    return this.#leases.get(leaseId)?.workerId;
  }

  /** Something waits, or is counted, that ends with ticks. */
  get wantsTicks(): boolean {
    return this.#demands.size > 0 || this.#nodes.isCounting;
  }

  /** Waiting demand, for reports. */
  pending(): { resources: Resources; count: number; reason: string }[] {
    return [...this.#demands.values()]
      .filter((d) => d.count > 0)
      .map(({ resources, count, reason }) => ({ resources, count, reason }));
  }

  /** @throws Error naming the broken rule */
  checkInvariants(heldElsewhere: Resources = {}): void {
    const held: Record<string, number> = { ...heldElsewhere };
    add(held, this.bundles.setAside());
    for (const lease of this.#leases.values()) {
      const worker = this.#workers.get(lease.workerId);
      if (worker === undefined || !worker.leases.has(lease.id))
        throw new Error(`lease ${lease.id} names worker ${lease.workerId}, which does not know it`);
      add(held, heldBy(lease));
    }
    for (const worker of this.#workers.values()) {
      const running = [...worker.leases].filter((id) => this.#leases.get(id)?.cpuReleased === false);
      if (running.length > 1)
        throw new Error(`worker ${worker.id}: leases ${running.join(" and ")} both hold CPUs`);
    }
    for (const name of Object.keys(this.total)) {
      const sum = (held[name] ?? 0) + (this.available[name] ?? 0);
      if (sum !== this.total[name])
        throw new Error(
          `${name}: held ${held[name] ?? 0} + available ${this.available[name]} is not ${this.total[name]}`,
        );
    }
  }

  // --- events ---

  #state(statement: DemandStatement): void {
    const key = `${statement.owner}/${statement.classId}`;
    const before = this.#demands.get(key);
    const { resources, strategy } = statement;
    if (statement.count === 0) this.#demands.delete(key);
    else
      this.#demands.set(key, {
        ...statement,
        asked: resources,
        resources: takenAt(resources, strategy),
        fitsHere: fitsLabels(strategy.labels, this.#labels),
        reason: before?.reason ?? "",
        ticks: before?.ticks ?? 0,
        awaitsWorker: false,
        patientAt: before?.patientAt ?? new Set(),
        servedAt: before?.servedAt ?? 0,
      });
  }

  #started(pool: string, count: number): void {
    const starting = this.#starting.get(pool) ?? 0;
    if (starting > count) this.#starting.set(pool, starting - count);
    else this.#starting.delete(pool);
  }

  #setBlocked(workerId: string, blocked: boolean, runningFor: string): void {
    const worker = this.#workers.get(workerId);
    if (worker === undefined || worker.blocked === blocked || worker.leases.size === 0) return;
    worker.blocked = blocked;
    const leases = [...worker.leases].flatMap((id) => this.#leases.get(id) ?? []);
    if (blocked) {
      for (const lease of leases) if (!lease.cpuReleased) this.#releaseCpu(lease);
    } else {
      // One task goes on: the CPUs may be overdrawn until others are done.
      const released = leases.filter((each) => each.cpuReleased);
      const lease = released.find(({ owner }) => owner.startsWith(`${runningFor}#`)) ?? released[0];
      if (lease === undefined || leases.some((each) => !each.cpuReleased)) return;
      lease.cpuReleased = false;
      subtract(this.available, onlyCpu(lease.share.resources));
    }
  }

  #releaseCpu(lease: LeaseState): void {
    lease.cpuReleased = true;
    add(this.available, onlyCpu(lease.share.resources));
  }

  #workerGone(workerId: string): void {
    const worker = this.#workers.get(workerId);
    if (worker === undefined) return;
    for (const leaseId of [...worker.leases]) {
      const lease = this.#leases.get(leaseId);
      if (lease) this.#release(lease);
    }
    this.#workers.delete(workerId);
  }

  #release(lease: LeaseState): void {
    const worker = this.#workers.get(lease.workerId);
    this.bundles.give({ ...lease.share, resources: heldBy(lease) });
    this.#leases.delete(lease.id);
    worker?.leases.delete(lease.id);
    // A worker without leases runs nothing of an owner's; what its last task awaits is no concern of the ledger.
    if (worker !== undefined && worker.leases.size === 0) worker.blocked = false;
    const held = (this.#leasesPerClass.get(lease.classKey) ?? 1) - 1;
    if (held === 0) this.#leasesPerClass.delete(lease.classKey);
    else this.#leasesPerClass.set(lease.classKey, held);
  }

  // --- decisions ---

  #schedule(effects: LeaseEffect[]): void {
    if (this.#demands.size === 0) return;
    const wantWorkers = new Map<string, number>();
    let progress = true;
    while (progress) {
      progress = false;
      // Fewest leases first: no owner starves another.
      const order = [...this.#demands.entries()].sort(
        ([a, demandA], [b, demandB]) =>
          (this.#leasesPerClass.get(a) ?? 0) - (this.#leasesPerClass.get(b) ?? 0) ||
          demandA.servedAt - demandB.servedAt,
      );
      for (const [key, demand] of order) {
        if (demand.count === 0) continue;
        const verdict = this.#place(key, demand, effects);
        if (verdict === "granted" || verdict === "redirected") {
          progress = true;
          demand.servedAt = ++this.#served;
        }
        if (demand.count === 0) this.#demands.delete(key);
      }
    }
    let planned: Record<string, number> | undefined;
    for (const demand of this.#demands.values()) {
      if (!demand.awaitsWorker) continue;
      planned ??= { ...this.available };
      this.#planWorkers(demand, planned, wantWorkers);
    }
    for (const [pool, wanted] of wantWorkers) {
      const have = this.#starting.get(pool) ?? 0;
      if (wanted > have) effects.push({ kind: "startWorkers", pool, count: wanted - have });
    }
    for (const [key, demand] of this.#demands) this.#reclaimFor(key, demand, effects);
  }

  #place(key: string, demand: Demand, effects: LeaseEffect[]): Verdict {
    const self = this.#selfView();
    const { strategy, resources } = demand;
    const pinnedHere = strategy.kind === "NODE_AFFINITY" && strategy.nodeId === this.#nodeId;
    if (strategy.kind === "NODE_AFFINITY" && !demand.redirected) {
      const wanted = pinnedHere ? self : this.#nodes.get(strategy.nodeId);
      const isUnheardOf = wanted === undefined && !this.#deadNodes.has(strategy.nodeId);
      if (isUnheardOf && !strategy.soft && demand.ticks < UNHEARD_OF_TICKS) {
        return this.#wait(demand, `waiting to hear of node ${strategy.nodeId}`, effects);
      }
      const isAsSelected = wanted !== undefined && fitsLabels(strategy.labels, wanted.labels);
      const possible = wanted !== undefined && isAsSelected && fits(resources, wanted.total);
      if (possible && !pinnedHere) return this.#redirect(demand, wanted, demand.count, effects);
      if (!possible && !strategy.soft) {
        const why =
          wanted === undefined
            ? "is not in the cluster"
            : !isAsSelected
              ? `does not have the labels ${describeTerms(strategy.labels)}`
              : `can never hold it: ${describeMissing(resources, wanted.total, wanted.total)}`;
        effects.push({
          kind: "unschedulable",
          what: undefined,
          owner: demand.owner,
          classId: demand.classId,
          reason: `node ${strategy.nodeId} ${why}`,
        });
        demand.count = 0;
        return "settled";
      }
      if (possible) return this.#placeHere(key, demand, effects);
    }
    if (demand.redirected) {
      const isTaken = !this.#isDraining || pinnedHere;
      if (isTaken && (this.#hasRoom(demand) || pinnedHere || demand.patient)) {
        return this.#placeHere(key, demand, effects);
      }
      effects.push({ kind: "reject", owner: demand.owner, classId: demand.classId, count: demand.count });
      demand.count = 0;
      return "settled";
    }
    const node = this.#choose(demand, self);
    if (node === undefined) {
      this.#waitElsewhereToo(demand, effects);
      return this.#wait(demand, this.#whyNowhere(demand, self), effects);
    }
    if (node.nodeId === this.#nodeId) return this.#placeHere(key, demand, effects);
    return this.#redirect(demand, node, 1, effects);
  }

  /**
   * No node has room. Only the raylets that hold the leases can ask for some of them back, so the owner is told to wait
   * there for one lease each, beside waiting here; what comes first is used, and the rest withdrawn.
   */
  #waitElsewhereToo(demand: Demand, effects: LeaseEffect[]): void {
    const { owner, classId, resources, patientAt, strategy } = demand;
    for (const node of this.#nodes.all()) {
      if (patientAt.size >= PATIENT_NODES_MAX) return;
      if (patientAt.has(node.nodeId) || !fits(resources, node.total)) continue;
      if (!fitsLabels(strategy.labels, node.labels)) continue;
      patientAt.add(node.nodeId);
      effects.push({ kind: "redirect", owner, classId, count: 1, node, patient: true });
    }
  }

  #choose(demand: Demand, self: NodeView): NodeView | undefined {
    const { resources, strategy, localityNodeId, fitsHere } = demand;
    const others = this.#othersFor(demand);
    if (strategy.kind === "SPREAD") {
      const isHere = fitsHere && !this.#isDraining;
      const picked = pickSpread(resources, isHere ? [self, ...others] : [...others], this.#spreadCursor);
      if (picked) this.#spreadCursor = picked.cursor;
      return picked?.node;
    }
    // Large arguments win over utilisation: moving them costs more than waiting a little.
    const near = localityNodeId === this.#nodeId ? self : this.#nodes.get(localityNodeId);
    if (near !== undefined && fits(resources, near.available) && fitsLabels(strategy.labels, near.labels))
      return near;
    return pickHybrid(resources, fitsHere && !this.#isDraining ? self : undefined, others);
  }

  /** The other nodes whose labels are as the demand wants them. */
  #othersFor({ strategy: { labels } }: Demand): Iterable<NodeView> {
    if (labels.length === 0) return this.#nodes.all();
    return [...this.#nodes.all()].filter((node) => fitsLabels(labels, node.labels));
  }

  /** Whether this node could run one more now, if a worker is there. */
  #hasRoom({ resources, asked, strategy }: Demand): boolean {
    return fits(resources, this.available) && (strategy.groupId === "" || this.bundles.has(asked, strategy));
  }

  #redirect(demand: Demand, node: NodeView, count: number, effects: LeaseEffect[]): Verdict {
    this.#nodes.sent(node.nodeId, demand.resources, count);
    demand.count -= count;
    const { owner, classId } = demand;
    // One answer per node: demand is absolute, and a second one could cross the first one's grants.
    const at = effects.findIndex(
      (effect) =>
        effect.kind === "redirect" &&
        !effect.patient &&
        effect.owner === owner &&
        effect.classId === classId &&
        effect.node.nodeId === node.nodeId,
    );
    const earlier = effects[at];
    if (earlier?.kind === "redirect") {
      effects[at] = { ...earlier, count: earlier.count + count };
    } else {
      effects.push({ kind: "redirect", owner, classId, count, node, patient: false });
    }
    return "redirected";
  }

  #placeHere(key: string, demand: Demand, effects: LeaseEffect[]): Verdict {
    const { resources, owner, classId, pool } = demand;
    if (this.#isDraining) return this.#wait(demand, "this node is being drained", effects);
    if (!fits(resources, this.available)) {
      return this.#wait(
        demand,
        `waiting for ${describeMissing(resources, this.available, this.total)}`,
        effects,
      );
    }
    const worker = this.#idleWorker(pool) ?? this.#blockedWorker(pool, demand.strategy.groupId);
    if (worker === undefined) {
      const verdict = this.#wait(demand, "waiting for a worker to start", effects);
      demand.awaitsWorker = true;
      return verdict;
    }
    const share = this.bundles.take(demand.asked, demand.strategy);
    if (share === undefined) {
      const what = (demand.asked.GPU ?? 0) > 0 ? "a GPU" : "a bundle of its placement group";
      return this.#wait(demand, `waiting for ${what} with enough of it free`, effects);
    }
    const { gpuIds } = share;
    const leaseId = `${this.#nodeId}-${this.#nextLease++}`;
    this.#leases.set(leaseId, {
      id: leaseId,
      owner,
      classKey: key,
      workerId: worker.id,
      share,
      retriable: demand.retriable ?? true,
      reclaimed: false,
      cpuReleased: false,
    });
    this.#leasesPerClass.set(key, (this.#leasesPerClass.get(key) ?? 0) + 1);
    worker.leases.add(leaseId);
    demand.count -= 1;
    demand.reason = "";
    effects.push({ kind: "grant", owner, classId, leaseId, workerId: worker.id, resources, gpuIds });
    return "granted";
  }

  #wait(demand: Demand, reason: string, effects: LeaseEffect[]): Verdict {
    demand.awaitsWorker = false;
    if (reason !== demand.reason) {
      demand.reason = reason;
      effects.push({ kind: "pending", owner: demand.owner, classId: demand.classId, reason });
    }
    return "waits";
  }

  #whyNowhere(demand: Demand, self: NodeView): string {
    const { groupId, labels } = demand.strategy;
    const all = [self, ...this.#nodes.all()];
    const nodes = labels.length === 0 ? all : all.filter((node) => fitsLabels(labels, node.labels));
    if (nodes.length === 0)
      return `infeasible: no node of ${all.length} has the labels ${describeTerms(labels)}`;
    const able = nodes.filter((node) => fits(demand.resources, node.total));
    if (able.length === 0) {
      if (groupId !== "") return `waiting for placement group ${groupId} to be placed`;
      const which = labels.length === 0 ? "" : ` with the labels ${describeTerms(labels)}`;
      return `infeasible: no node of ${nodes.length}${which} has ${describeMissing(demand.resources, self.total, self.total) || "all of it together"}`;
    }
    const first = able[0] as NodeView;
    return `waiting for ${describeMissing(demand.resources, first.available, first.total)}`;
  }

  #idleWorker(pool: string): WorkerState | undefined {
    for (const worker of this.#workers.values()) if (worker.pool === pool && isIdle(worker)) return worker;
    return undefined;
  }

  /** With enough processes started, a worker whose tasks all wait is lent once more instead of starting another. */
  #blockedWorker(pool: string, groupId: string): WorkerState | undefined {
    let best: WorkerState | undefined;
    let count = this.#starting.get(pool) ?? 0;
    for (const worker of this.#workers.values()) {
      if (worker.pool !== pool) continue;
      count += 1;
      // Never beside tasks of another group: whoever uses a group is ended with it.
      const idle =
        worker.blocked &&
        !worker.condemned &&
        [...worker.leases].every((id) => {
          const lease = this.#leases.get(id);
          return lease?.cpuReleased === true && (lease.share.bundle?.groupId ?? "") === groupId;
        });
      if (idle && (best === undefined || worker.leases.size < best.leases.size)) best = worker;
    }
    return count >= this.#lendBlockedFrom ? best : undefined;
  }

  #planWorkers(demand: Demand, planned: Record<string, number>, wanted: Map<string, number>): void {
    let count = 0;
    for (const { pool, jobId, leases } of this.#workers.values()) {
      // Idle ones of the job's other environments make room.
      if (pool === demand.pool || (jobId === demand.jobId && leases.size > 0)) count += 1;
    }
    for (let n = demand.count; n > 0 && fits(demand.resources, planned); n--) {
      const already = wanted.get(demand.pool) ?? 0;
      if (count + already >= this.#workersPerJobMax || already >= this.#startingMax) return;
      subtract(planned, demand.resources);
      wanted.set(demand.pool, already + 1);
    }
  }

  /** Asks leases of better served classes back for a demand that waits for resources. */
  #reclaimFor(key: string, demand: Demand, effects: LeaseEffect[]): void {
    if (this.#hasRoom(demand) || !demand.fitsHere || !fits(demand.resources, this.total)) return;
    const mine = this.#leasesPerClass.get(key) ?? 0;
    let asked = 0;
    for (const lease of this.#leases.values()) {
      if (asked >= demand.count) return;
      if (lease.classKey === key || (this.#leasesPerClass.get(lease.classKey) ?? 0) <= mine) continue;
      if (!Object.keys(demand.resources).some((name) => (lease.share.resources[name] ?? 0) > 0)) continue;
      asked += 1;
      if (lease.reclaimed) continue;
      lease.reclaimed = true;
      effects.push({ kind: "reclaim", owner: lease.owner, leaseId: lease.id });
    }
  }

  #selfView(): NodeView {
    const { total } = this;
    const available = this.#isDraining ? {} : this.available;
    return { nodeId: this.#nodeId, address: "", total, available, labels: this.#labels };
  }
}

const isIdle = ({ leases, condemned }: WorkerState): boolean => leases.size === 0 && !condemned;

/** Names of pools begin with their job's; see core/environments/spec.ts. */
function isPoolOf(pool: string, jobId: string): boolean {
  return pool === jobId || pool.startsWith(`${jobId}/`);
}

function heldBy({ cpuReleased, share }: LeaseState): Resources {
  return cpuReleased ? exceptCpu(share.resources) : share.resources;
}
