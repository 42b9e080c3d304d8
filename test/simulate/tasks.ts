/**
 * Nodes with the real lease machine, and owners whose tasks they serve, under worker and node deaths. The owners' shell is
 * written small here; what becomes of a task is decided by the real retry policy.
 */
import { judgeLoss, type LossHistory, NO_LOSSES } from "../../src/core/submit/retry-policy.ts";
import { type LeaseEffect, type LeaseEvent, LeaseMachine } from "../../src/raylet/lease/lease-machine.ts";
import type { Clock } from "./clock.ts";

const CPU = 10_000;
const CPUS = 2;
const MAX_RETRIES = 3;
const JOB = "j";
const POOL = JOB;
const REJECT_PAUSE_MS = 25;

interface Task {
  readonly id: string;
  /** CPUs of its scheduling class. */
  readonly classId: number;
  history: LossHistory;
  /** How often its body began, and how often a result or an error was accepted. */
  runs: number;
  ends: number;
}

interface Worker {
  readonly id: string;
  readonly node: Node;
  alive: boolean;
  ready: boolean;
  running: Task | undefined;
}

interface Lease {
  readonly id: string;
  readonly worker: Worker;
  readonly classId: number;
  task: Task | undefined;
  returning: boolean;
}

/** A node: machine, workers. */
export class Node {
  readonly id: string;
  readonly machine: LeaseMachine;
  readonly workers = new Map<string, Worker>();
  alive = true;
  constructor(id: string) {
    this.id = id;
    this.machine = new LeaseMachine({
      nodeId: id,
      labels: {},
      total: { CPU: CPUS * CPU },
      gpuIds: [],
      workersPerJobMax: 8,
      lendBlockedFrom: 8,
      startingMax: 4,
    });
  }
}

/** A driver: tasks in two scheduling classes, of half a CPU and of one. */
class Owner {
  readonly id: string;
  readonly home: Node;
  readonly queues = new Map<number, Task[]>([
    [1, []],
    [2, []],
  ]);
  /** By node and class: what was asked and not answered. */
  readonly asked = new Map<string, number>();
  readonly leases = new Map<string, Lease>();
  readonly tasks: Task[] = [];
  constructor(id: string, home: Node) {
    this.id = id;
    this.home = home;
  }
}

const cpuOf = (classId: number) => (classId === 1 ? CPU / 2 : CPU);

export class TaskWorld {
  readonly #clock: Clock;
  readonly nodes: Node[] = [];
  readonly #owners: Owner[] = [];
  #nextNode = 1;
  #nextWorker = 1;
  faults = true;

  constructor(clock: Clock, tasksPerOwner: number) {
    this.#clock = clock;
    for (let i = 0; i < 3; i++) this.addNode();
    for (const name of ["a", "b"]) {
      const owner = new Owner(name, this.nodes[0] as Node);
      this.#owners.push(owner);
      for (let i = 0; i < tasksPerOwner; i++) {
        const classId = clock.chance(0.5) ? 1 : 2;
        const task: Task = { id: `${name}${i}`, classId, history: NO_LOSSES, runs: 0, ends: 0 };
        owner.tasks.push(task);
        clock.after(clock.between(0, 2000), () => {
          (owner.queues.get(classId) as Task[]).push(task);
          this.#tell(owner, classId);
        });
      }
    }
    this.#repeat(500, () => {
      for (const node of this.nodes) if (node.alive) this.#feed(node, { kind: "tick" });
    });
    this.#repeat(100, () => this.#spreadViews());
  }

  // --- faults ---

  killWorker(): void {
    const workers = this.nodes.flatMap((node) => [...node.workers.values()]);
    const victim = this.#clock.pick(workers);
    if (victim !== undefined) this.#workerDies(victim);
  }

  /** Any node but the first, where the owners live. */
  killNode(): void {
    const victim = this.#clock.pick(this.nodes.slice(1).filter(({ alive }) => alive));
    if (victim === undefined) return;
    this.#clock.note(`node ${victim.id} dies`);
    victim.alive = false;
    for (const worker of victim.workers.values()) worker.alive = false;
    victim.workers.clear();
    for (const other of this.nodes)
      if (other.alive)
        this.#clock.after(this.#clock.between(1, 100), () => {
          this.#feed(other, { kind: "nodeGone", nodeId: victim.id });
        });
    for (const owner of this.#owners)
      this.#clock.send(`${victim.id}>${owner.id}`, () => this.#sessionLost(owner, victim));
    this.#clock.after(this.#clock.between(200, 2000), () => this.addNode());
  }

  addNode(): void {
    const node = new Node(`n${this.#nextNode++}`);
    this.#clock.note(`node ${node.id} joins`);
    this.nodes.push(node);
  }

  // --- what must hold ---

  check(): void {
    for (const node of this.nodes) {
      if (!node.alive) continue;
      node.machine.checkInvariants();
      let running = 0;
      for (const { running: task, alive } of node.workers.values())
        if (alive && task !== undefined) running += cpuOf(task.classId);
      if (running > CPUS * CPU) throw new Error(`node ${node.id} runs tasks of ${running / CPU} CPUs`);
    }
    for (const { tasks } of this.#owners)
      for (const { id, runs, ends } of tasks) {
        if (ends > 1) throw new Error(`task ${id} ended ${ends} times`);
        if (runs > 1 + MAX_RETRIES)
          throw new Error(`task ${id} began ${runs} times, with ${MAX_RETRIES} retries`);
      }
  }

  get isDone(): boolean {
    return this.#owners.every(({ tasks }) => tasks.every(({ ends }) => ends === 1));
  }

  /** Why it is not at rest, although every task has ended. */
  whyBusy(): string | undefined {
    for (const node of this.nodes)
      if (node.alive && node.machine.available.CPU !== CPUS * CPU)
        return `node ${node.id} has ${node.machine.available.CPU} of ${CPUS * CPU} free`;
    return undefined;
  }

  unfinished(): string {
    return this.#owners
      .flatMap(({ tasks }) =>
        tasks.filter(({ ends }) => ends === 0).map(({ id, runs }) => `${id} (${runs} runs)`),
      )
      .join(", ");
  }

  // --- nodes ---

  #feed(node: Node, event: LeaseEvent): void {
    if (!node.alive) return;
    for (const effect of node.machine.step(event)) this.#carryOut(node, effect);
  }

  #carryOut(node: Node, effect: LeaseEffect): void {
    if (effect.kind === "startWorkers") {
      node.machine.noteStarting(effect.pool, effect.count);
      for (let i = 0; i < effect.count; i++) this.#startWorker(node);
      return;
    }
    const owner = this.#owners.find(({ id }) => effect.owner === `${id}#1`) as Owner;
    const toOwner = (act: () => void) => this.#clock.send(`${node.id}>${owner.id}`, act);
    switch (effect.kind) {
      case "grant": {
        const worker = node.workers.get(effect.workerId) as Worker;
        const { leaseId, classId } = effect;
        toOwner(() => this.#onGrant(owner, node, leaseId, worker, classId));
        break;
      }
      case "redirect": {
        const to = this.nodes.find(({ id }) => id === effect.node.nodeId) as Node;
        const { classId, count, patient } = effect;
        toOwner(() => {
          if (!patient) this.#answered(owner, node, classId, count);
          const room = (owner.queues.get(classId) as Task[]).length;
          if (room > 0) this.#ask(owner, to, classId, patient ? 1 : count, true, patient);
        });
        break;
      }
      case "reject": {
        const { classId, count } = effect;
        toOwner(() => {
          this.#answered(owner, node, classId, count);
          this.#clock.after(REJECT_PAUSE_MS, () => this.#tell(owner, classId));
        });
        break;
      }
      case "reclaim": {
        const { leaseId } = effect;
        toOwner(() => {
          const lease = owner.leases.get(leaseId);
          if (lease === undefined) return;
          lease.returning = true;
          if (lease.task === undefined) this.#return(owner, lease);
        });
        break;
      }
      case "unschedulable":
        throw new Error(`unschedulable: ${effect.reason}`);
      case "pending":
        break;
    }
  }

  #startWorker(node: Node): void {
    const worker: Worker = {
      id: `w${this.#nextWorker++}`,
      node,
      alive: true,
      ready: false,
      running: undefined,
    };
    node.workers.set(worker.id, worker);
    this.#clock.after(this.#clock.between(20, 200), () => {
      if (!worker.alive) return;
      worker.ready = true;
      this.#feed(node, { kind: "workerIdle", workerId: worker.id, jobId: JOB, pool: POOL, wasReady: false });
    });
  }

  #workerDies(worker: Worker): void {
    const { node } = worker;
    this.#clock.note(`worker ${worker.id} of ${node.id} dies`);
    worker.alive = false;
    node.workers.delete(worker.id);
    for (const { leaseId, owner: session } of node.machine.leasesOf(worker.id)) {
      const owner = this.#owners.find(({ id }) => session === `${id}#1`) as Owner;
      const begun = worker.running;
      this.#clock.send(`${node.id}>${owner.id}`, () => this.#leaseLost(owner, leaseId, begun, false));
    }
    this.#feed(node, { kind: "workerGone", workerId: worker.id, pool: POOL, wasReady: worker.ready });
  }

  #spreadViews(): void {
    for (const from of this.nodes) {
      if (!from.alive) continue;
      const node = {
        nodeId: from.id,
        address: from.id,
        labels: {},
        total: from.machine.total,
        available: { ...from.machine.available },
      };
      for (const to of this.nodes)
        if (to !== from && to.alive)
          this.#clock.after(this.#clock.between(1, 50), () => {
            if (from.alive) this.#feed(to, { kind: "nodeView", node });
          });
    }
  }

  // --- owners ---

  /** Demand at home: what is queued, less what was asked elsewhere. */
  #tell(owner: Owner, classId: number): void {
    const wanted = (owner.queues.get(classId) as Task[]).length;
    let elsewhere = 0;
    for (const node of this.nodes)
      if (node !== owner.home) elsewhere += owner.asked.get(`${node.id}/${classId}`) ?? 0;
    const here = Math.max(0, wanted - elsewhere);
    if (here !== (owner.asked.get(`${owner.home.id}/${classId}`) ?? 0)) {
      owner.asked.set(`${owner.home.id}/${classId}`, 0);
      this.#ask(owner, owner.home, classId, here, false, false);
    }
    if (wanted > 0) return;
    for (const node of this.nodes) {
      const key = `${node.id}/${classId}`;
      if (node === owner.home || (owner.asked.get(key) ?? 0) === 0) continue;
      owner.asked.set(key, 0);
      this.#ask(owner, node, classId, 0, true, false);
    }
  }

  #ask(owner: Owner, node: Node, classId: number, more: number, redirected: boolean, patient: boolean): void {
    const key = `${node.id}/${classId}`;
    const count = (owner.asked.get(key) ?? 0) + more;
    owner.asked.set(key, count);
    const demand = {
      owner: `${owner.id}#1`,
      jobId: JOB,
      pool: POOL,
      classId,
      resources: { CPU: cpuOf(classId) },
      strategy: { kind: "DEFAULT", nodeId: "", soft: false, labels: [], groupId: "", bundle: -1 },
      count,
      redirected,
      patient,
      localityNodeId: "",
    };
    this.#clock.send(`${owner.id}>${node.id}`, () => {
      if (node.alive) this.#feed(node, { kind: "demand", demand });
      else this.#clock.send(`${node.id}>${owner.id}`, () => this.#sessionLost(owner, node));
    });
  }

  #answered(owner: Owner, node: Node, classId: number, count: number): void {
    const key = `${node.id}/${classId}`;
    owner.asked.set(key, Math.max(0, (owner.asked.get(key) ?? 0) - count));
  }

  #onGrant(owner: Owner, node: Node, leaseId: string, worker: Worker, classId: number): void {
    this.#answered(owner, node, classId, 1);
    const lease: Lease = { id: leaseId, worker, classId, task: undefined, returning: false };
    owner.leases.set(leaseId, lease);
    this.#pump(owner, lease);
    this.#tell(owner, classId);
  }

  #pump(owner: Owner, lease: Lease): void {
    const task = lease.returning ? undefined : (owner.queues.get(lease.classId) as Task[]).shift();
    if (task === undefined) {
      this.#return(owner, lease);
      return;
    }
    lease.task = task;
    const { worker } = lease;
    this.#clock.send(`${owner.id}>${worker.id}`, () => {
      if (!worker.alive) return;
      if (worker.running !== undefined) throw new Error(`worker ${worker.id} runs two tasks`);
      worker.running = task;
      task.runs += 1;
      this.#clock.note(`${task.id} begins on ${worker.id}`);
      this.#clock.after(this.#clock.between(1, 60), () => {
        if (!worker.alive || worker.running !== task) return;
        worker.running = undefined;
        this.#clock.send(`${worker.id}>${owner.id}`, () => {
          if (owner.leases.get(lease.id) !== lease || lease.task !== task) return;
          lease.task = undefined;
          task.ends += 1;
          this.#clock.note(`${task.id} is done`);
          this.#pump(owner, lease);
          this.#tell(owner, lease.classId);
        });
      });
    });
  }

  #return(owner: Owner, lease: Lease): void {
    if (!owner.leases.delete(lease.id)) return;
    const { node } = lease.worker;
    this.#clock.send(`${owner.id}>${node.id}`, () =>
      this.#feed(node, { kind: "leaseReturned", leaseId: lease.id }),
    );
  }

  #leaseLost(owner: Owner, leaseId: string, begun: Task | undefined, nodeDied: boolean): void {
    const lease = owner.leases.get(leaseId);
    if (lease === undefined) return;
    owner.leases.delete(leaseId);
    const { task } = lease;
    if (task === undefined) return;
    const verdict = judgeLoss(
      task.history,
      {
        workerId: lease.worker.id,
        nodeDied,
        outOfMemory: false,
        exitCode: null,
        signal: "SIGKILL",
        // Of a dead node nobody knows; else the worker's own notes tell. One that was done and unanswered had begun, too.
        begun: nodeDied || begun === task || task.runs > task.history.retries,
        alone: true,
      },
      { maxRetries: MAX_RETRIES, oomRetries: 0 },
    );
    if (verdict.kind === "fail") {
      task.ends += 1;
      this.#clock.note(`${task.id} failed: ${verdict.why}`);
    } else {
      if (verdict.kind === "retry") task.history = verdict.history;
      (owner.queues.get(task.classId) as Task[]).unshift(task);
    }
    this.#tell(owner, task.classId);
  }

  #sessionLost(owner: Owner, node: Node): void {
    for (const classId of owner.queues.keys()) owner.asked.delete(`${node.id}/${classId}`);
    for (const lease of [...owner.leases.values()])
      if (lease.worker.node === node) this.#leaseLost(owner, lease.id, undefined, true);
    for (const classId of owner.queues.keys()) this.#tell(owner, classId);
  }

  #repeat(everyMs: number, act: () => void): void {
    this.#clock.after(everyMs, () => {
      act();
      this.#repeat(everyMs, act);
    });
  }
}
