/**
 * Processes that own, pass and drop refs, over channels that keep their order and nothing else: what runs the machines
 * through random histories. One seed, one history. Each process has a heap of its own, with variables, tasks that it runs
 * and calls that it waits for; its garbage is found and reported whenever the history says so.
 */
import {
  BorrowedObject,
  type NodeTuple,
  OwnedObject,
  type ReferenceEffects,
  ReferenceMachine,
} from "./reference-machine.ts";

interface Owner {
  readonly processId: string;
}

type Record_ = OwnedObject<string> | BorrowedObject<Owner>;

/** An object as one process sees it. */
interface Entry {
  readonly id: string;
  readonly record: Record_;
  /** Refs inside its value; undefined while the value is not known here. */
  held: Entry[] | undefined;
  /** Who waits for its value (at its owner). */
  readonly waiting: (() => void)[];
}

type Message =
  | { readonly kind: "borrow" | "unborrow"; readonly request: number; readonly seqs: readonly number[] }
  | { readonly kind: "borrowed"; readonly request: number }
  | { readonly kind: "task" | "done"; readonly call: number; readonly refs: readonly string[] }
  | { readonly kind: "resultTaken"; readonly call: number }
  | { readonly kind: "getValue"; readonly request: number; readonly seq: number }
  | {
      readonly kind: "value";
      readonly request: number;
      readonly refs: readonly string[];
      readonly isLost: boolean;
    }
  | { readonly kind: "copyAt"; readonly seq: number }
  | { readonly kind: "closed" };

interface Serving {
  readonly call: number;
  readonly caller: Process;
  readonly refs: readonly Entry[];
  /** Refs in the result must be older than it: cycles over several owners are never freed, as in any counting. */
  readonly resultOrder: number;
}

type Action = (process: Process) => void;
type Choice = readonly [weight: number, act: Action];

const FADING_STEPS = 50;
/** A slow channel delivers when it was picked this many times in a row. */
const SLOWNESS = 30;

interface Call {
  readonly held: readonly Entry[];
  readonly result: Entry;
  readonly worker: Process;
}

class Process {
  readonly id: string;
  readonly node: NodeTuple;
  readonly machine: ReferenceMachine<Owner, string>;
  isAlive = true;
  /** Peers whose end this process has heard of. */
  readonly gone = new Set<string>();
  isFlushDue = false;
  /** Entries that have not been collected. */
  readonly heap = new Map<string, Entry>();
  variables: Entry[] = [];
  /** Collected, and not reported yet. */
  unreported: Entry[] = [];
  readonly kept = new Set<Entry>();
  readonly calls = new Map<number, Call>();
  readonly serving = new Set<Serving>();
  readonly handoffs = new Map<string, { readonly caller: string; readonly refs: readonly Entry[] }>();
  readonly asked = new Map<number, { readonly entry: Entry; readonly owner: string }>();
  nextSeq = 1;

  constructor(id: string, effects: ReferenceEffects<Owner, string>) {
    this.id = id;
    this.node = [id, `node of ${id}`];
    this.machine = new ReferenceMachine(effects);
  }

  /** What JavaScript would find: everything that variables, tasks, calls and the machine lead to. */
  reachable(): Set<Entry> {
    const found = new Set<Entry>();
    const visit = (entries: Iterable<Entry>) => {
      for (const entry of entries) {
        if (found.has(entry)) continue;
        found.add(entry);
        if (entry.held !== undefined) visit(entry.held);
      }
    };
    visit(this.variables);
    visit(this.kept);
    for (const { held, result } of this.calls.values()) visit([...held, result]);
    for (const { refs } of this.serving) visit(refs);
    for (const { refs } of this.handoffs.values()) visit(refs);
    for (const { entry } of this.asked.values()) visit([entry]);
    return found;
  }
}

export class Simulator {
  readonly #random: () => number;
  readonly #processes: Process[];
  #actions: Action[] = [];
  /** Those that go on when nothing new is made. */
  readonly #fading = new Set<Action>();
  readonly #channels = new Map<
    string,
    { from: Process; to: Process; messages: Message[]; isSlow: boolean }
  >();
  /** Order in which objects were made. */
  readonly #made = new Map<string, number>();
  readonly #freed = new Set<string>();
  /** What a process passed on and did not outlive: its object may be gone when the ref is used. */
  readonly #excused = new Set<string>();
  readonly #copies = new Set<string>();
  #nextNumber = 1;
  /** What happened, where it was asked for. */
  readonly story: string[] = [];
  readonly #isTold: boolean;

  constructor(seed: number, isTold = false) {
    this.#isTold = isTold;
    this.#random = generator(seed);
    const count = 2 + this.#below(3);
    this.#processes = Array.from({ length: count }, (_, i) => {
      const id = `p${i}`;
      const process: Process = new Process(
        id,
        this.#effects(() => process),
      );
      return process;
    });
    for (const from of this.#processes)
      for (const to of this.#processes)
        if (from !== to) this.#channels.set(`${from.id}>${to.id}`, { from, to, messages: [], isSlow: false });
    this.#prefer();
  }

  /** @throws Error naming what does not hold */
  run(): void {
    const steps = 20 + this.#below(100);
    for (let i = 0; i < steps; i++) this.#step();
    this.#fade();
    this.#settle();
    this.#checkAllFreed();
  }

  // --- the history ---

  /** Each history prefers other actions and has channels of its own slowness, or rare sequences would hardly come up. */
  #prefer(): void {
    const lasting: readonly Choice[] = [
      [40, () => this.#deliverAny()],
      [12, (process) => this.#finishTask(process)],
      [6, (process) => this.#collect(process)],
      [6, (process) => this.#report(process)],
      [8, (process) => this.#flush(process)],
      [8, (process) => this.#get(process)],
      [3, (process) => this.#openValue(process)],
      [2, (process) => this.#drop(process)],
    ];
    const making: readonly Choice[] = [
      [8, (process) => this.#put(process)],
      [14, (process) => this.#call(process)],
    ];
    for (const [, act] of lasting) this.#fading.add(act);
    const actions = [...lasting, ...making];
    for (const [weight, act] of actions) {
      const times = Math.ceil(weight * (this.#pick([0.3, 1, 1, 3]) as number));
      for (let i = 0; i < times; i++) this.#actions.push(act);
    }
    if (this.#below(3) === 0) this.#actions.push((process) => this.#kill(process));
    for (const channel of this.#channels.values()) channel.isSlow = this.#below(4) === 0;
  }

  /** One process reads all it has and keeps what was inside; the others drop everything: little holds what it still needs. */
  #fade(): void {
    const keeper = this.#pick(this.#processes) as Process;
    this.#tell(() => `only ${keeper.id} keeps variables`);
    this.#actions = this.#actions.filter((act) => this.#fading.has(act));
    for (const entry of keeper.variables) this.#ask(keeper, entry);
    for (const process of this.#processes) if (process !== keeper) process.variables = [];
    for (let i = 0; i < FADING_STEPS; i++) this.#step();
    const inside = keeper.variables.flatMap(({ held }) => held ?? []);
    keeper.variables = this.#some([...inside, ...inside, ...keeper.variables]);
    for (let i = 0; i < FADING_STEPS; i++) this.#step();
  }

  #step(): void {
    const process = this.#pick(this.#processes.filter(({ isAlive }) => isAlive));
    if (process === undefined) return;
    (this.#pick(this.#actions) as Action)(process);
    process.machine.checkInvariants();
  }

  #put(process: Process): void {
    const held = this.#some(process.variables, 0.6);
    const entry = this.#own(process, held);
    this.#tell(() => `${process.id} puts ${entry.id} holding [${idsOf(held)}]`);
    process.variables.push(entry);
    this.#store(process, entry);
  }

  #call(process: Process): void {
    const worker = this.#pick(this.#processes.filter((each) => each !== process));
    if (worker === undefined) return;
    const held = this.#some(process.variables);
    const result = this.#own(process, undefined);
    const call = this.#nextNumber++;
    this.#tell(
      () => `${process.id} calls ${worker.id} (call ${call}, result ${result.id}) with [${idsOf(held)}]`,
    );
    process.variables.push(result);
    process.calls.set(call, { held, result, worker });
    if (process.gone.has(worker.id)) this.#failCall(process, call);
    else this.#send(process, worker, { kind: "task", call, refs: held.map(({ id }) => id) });
  }

  /** A task of the process ends: it may keep refs, and returns some of what it got or has. */
  #finishTask(process: Process): void {
    const task = this.#pick([...process.serving].filter((each) => !this.#blocked.has(each)));
    if (task === undefined) return;
    process.serving.delete(task);
    process.variables.push(...this.#some(task.refs, 0.7));
    const result = this.#some([...task.refs, ...process.variables]).filter(
      ({ id }) => (this.#made.get(id) as number) < task.resultOrder,
    );
    const answer = () => {
      if (!process.isAlive || process.gone.has(task.caller.id)) return;
      this.#tell(() => `${process.id} answers call ${task.call} with [${idsOf(result)}]`);
      process.handoffs.set(`${task.caller.id} ${task.call}`, { caller: task.caller.id, refs: result });
      this.#send(process, task.caller, {
        kind: "done",
        call: task.call,
        refs: result.map(({ id }) => id),
      });
    };
    // Until then the call counts as running: its refs stay where they are.
    if (task.refs.length === 0) answer();
    else {
      const waiting: Serving = { ...task, refs: [...task.refs, ...result] };
      process.serving.add(waiting);
      const then = () => {
        process.serving.delete(waiting);
        answer();
      };
      this.#blocked.add(waiting);
      if (!process.machine.onceRegistered(then)) then();
    }
  }
  /** Tasks that have returned and wait for registrations. */
  readonly #blocked = new Set<Serving>();

  #get(process: Process): void {
    const entry = this.#pick(process.variables);
    if (entry !== undefined) this.#ask(process, entry);
  }

  #ask(process: Process, entry: Entry): void {
    if (!process.isAlive || entry.held !== undefined || !(entry.record instanceof BorrowedObject)) return;
    const { owner, seq } = entry.record;
    if (process.gone.has(owner.processId)) return;
    const request = this.#nextNumber++;
    this.#tell(() => `${process.id} asks for ${entry.id}`);
    process.asked.set(request, { entry, owner: owner.processId });
    this.#send(process, this.#process(owner.processId), { kind: "getValue", request, seq });
  }

  /** The user takes refs out of a value. */
  #openValue(process: Process): void {
    const entry = this.#pick(process.variables);
    if (entry?.held !== undefined) process.variables.push(...this.#some(entry.held));
  }

  #drop(process: Process): void {
    const entry = this.#pick(process.variables);
    if (entry === undefined) return;
    this.#tell(() => `${process.id} drops ${entry.id}`);
    process.variables.splice(process.variables.indexOf(entry), 1);
  }

  #collect(process: Process): void {
    const reachable = process.reachable();
    for (const entry of process.heap.values()) {
      if (reachable.has(entry)) continue;
      process.heap.delete(entry.id);
      process.unreported.push(entry);
      this.#tell(() => `${process.id} collects ${entry.id}`);
    }
  }

  #report(process: Process): void {
    const reported = process.unreported;
    process.unreported = [];
    for (const { record } of reported) {
      if (record instanceof BorrowedObject) process.machine.borrowedUnreachable(record);
      else process.machine.ownedUnreachable(record);
    }
  }

  #flush(process: Process): void {
    if (!process.isFlushDue) return;
    process.isFlushDue = false;
    process.machine.flush();
  }

  #kill(process: Process): void {
    this.#tell(() => `${process.id} dies`);
    process.isAlive = false;
    for (const { from, to, messages } of this.#channels.values()) {
      if (to === process) messages.length = 0;
      if (from !== process) continue;
      for (const message of messages) if ("refs" in message) for (const id of message.refs) this.#excuse(id);
      messages.push({ kind: "closed" });
    }
    for (const each of this.#processes)
      for (const { id, record } of each.heap.values())
        if (record instanceof BorrowedObject && !record.isRegistered) this.#excuse(id);
    for (const copy of this.#copies) if (copy.endsWith(`@${process.id}`)) this.#copies.delete(copy);
  }

  #excuse(id: string): void {
    this.#excused.add(id);
  }

  // --- messages ---

  #send(from: Process, to: Process, message: Message): void {
    if (!to.isAlive || from.gone.has(to.id)) return;
    this.#channels.get(`${from.id}>${to.id}`)?.messages.push(message);
  }

  #deliverAny(): boolean {
    const waiting = [...this.#channels.values()].filter(({ messages }) => messages.length > 0);
    let channel = this.#pick(waiting);
    for (let i = 0; i < SLOWNESS && channel?.isSlow; i++) channel = this.#pick(waiting);
    const message = channel?.messages.shift();
    if (channel === undefined || message === undefined) return false;
    if (!channel.to.isAlive) return true;
    this.#receive(channel.to, channel.from, message);
    channel.to.machine.checkInvariants();
    return true;
  }

  #receive(process: Process, from: Process, message: Message): void {
    const { machine } = process;
    this.#tell(() => `${process.id} gets ${message.kind} from ${from.id} ${JSON.stringify(message)}`);
    switch (message.kind) {
      case "borrow":
        machine.onBorrow(from.id, message.request, message.seqs);
        break;
      case "borrowed":
        machine.onBorrowed(message.request);
        break;
      case "unborrow":
        machine.onUnborrow(from.id, message.seqs);
        break;
      case "task": {
        const refs = message.refs.map((id) => this.#import(process, id, undefined));
        const resultOrder = this.#made.get(
          (from.calls.get(message.call) as Call | undefined)?.result.id ?? "",
        );
        process.serving.add({ call: message.call, caller: from, refs, resultOrder: resultOrder ?? 0 });
        break;
      }
      case "done":
        this.#onDone(process, from, message.call, message.refs);
        break;
      case "resultTaken":
        process.handoffs.delete(`${from.id} ${message.call}`);
        break;
      case "getValue":
        this.#onGetValue(process, from, message.request, message.seq);
        break;
      case "value":
        this.#onValue(process, message.request, message.refs, message.isLost);
        break;
      case "copyAt":
        machine.copyAt(message.seq, from.node);
        break;
      case "closed":
        this.#onClosed(process, from);
        break;
    }
  }

  #onDone(process: Process, from: Process, number: number, refs: readonly string[]): void {
    const call = process.calls.get(number);
    if (call === undefined) return;
    process.calls.delete(number);
    if (refs.length > 0) {
      call.result.held = refs.map((id) => this.#import(process, id, undefined));
      const taken = () => this.#send(process, from, { kind: "resultTaken", call: number });
      if (!process.machine.onceRegistered(taken)) taken();
    } else {
      call.result.held = [];
      this.#send(process, from, { kind: "resultTaken", call: number });
    }
    // The result is held by the worker's answer only as long as the message: store it if anything is left of it.
    if (process.heap.get(call.result.id) === call.result) this.#store(process, call.result);
    for (const answer of call.result.waiting.splice(0)) answer();
  }

  #onGetValue(process: Process, from: Process, request: number, seq: number): void {
    const entry = process.heap.get(`${process.id}:${seq}`);
    if (entry === undefined) {
      if (!this.#excused.has(`${process.id}:${seq}`))
        throw new Error(`${from.id} asked for ${process.id}:${seq}, which is gone`);
      this.#send(process, from, { kind: "value", request, refs: [], isLost: true });
      return;
    }
    const answer = () => {
      const refs = (entry.held ?? []).map(({ id }) => id);
      this.#send(process, from, { kind: "value", request, refs, isLost: false });
    };
    if (entry.held === undefined) entry.waiting.push(answer);
    else answer();
  }

  #onValue(process: Process, request: number, refs: readonly string[], isLost: boolean): void {
    const asked = process.asked.get(request);
    process.asked.delete(request);
    if (asked === undefined || isLost || asked.entry.held !== undefined) return;
    const { record } = asked.entry;
    asked.entry.held = refs.map((id) => this.#import(process, id, asked.entry));
    if (!(record instanceof BorrowedObject)) return;
    // Reading it made a copy here.
    this.#copies.add(`${asked.entry.id}@${process.id}`);
    this.#send(process, this.#process(record.owner.processId), { kind: "copyAt", seq: record.seq });
  }

  #onClosed(process: Process, from: Process): void {
    process.gone.add(from.id);
    process.machine.peerGone(from.id);
    process.machine.nodeGone(from.node[1] as string);
    for (const [key, { caller }] of process.handoffs) if (caller === from.id) process.handoffs.delete(key);
    for (const [request, { owner }] of process.asked) if (owner === from.id) process.asked.delete(request);
    for (const [number, { worker }] of process.calls) if (worker === from) this.#failCall(process, number);
    for (const task of process.serving)
      if (task.caller === from && !this.#blocked.has(task)) process.serving.delete(task);
  }

  #failCall(process: Process, number: number): void {
    const call = process.calls.get(number);
    process.calls.delete(number);
    if (call === undefined) return;
    call.result.held = [];
    for (const answer of call.result.waiting.splice(0)) answer();
  }

  // --- entries ---

  #own(process: Process, held: Entry[] | undefined): Entry {
    const record = new OwnedObject<string>(process.nextSeq++);
    const entry: Entry = { id: `${process.id}:${record.seq}`, record, held, waiting: [] };
    this.#made.set(entry.id, this.#nextNumber++);
    process.heap.set(entry.id, entry);
    process.machine.own(record);
    return entry;
  }

  #store(process: Process, entry: Entry): void {
    this.#copies.add(`${entry.id}@${process.id}`);
    process.machine.stored(entry.record as OwnedObject<string>, [process.node]);
  }

  #import(process: Process, id: string, container: Entry | undefined): Entry {
    const known = process.heap.get(id);
    if (known !== undefined) return known;
    const [ownerId, seq] = id.split(":") as [string, string];
    if (ownerId === process.id) {
      if (!this.#excused.has(id)) throw new Error(`${id} came back to its owner after it was freed`);
      return { id, record: new OwnedObject<string>(Number(seq)), held: [], waiting: [] };
    }
    const holder = container?.record instanceof BorrowedObject ? container.record : undefined;
    const record = new BorrowedObject<Owner>({ processId: ownerId }, Number(seq), holder);
    const entry: Entry = { id, record, held: undefined, waiting: [] };
    process.heap.set(id, entry);
    process.machine.imported(record);
    return entry;
  }

  #effects(self: () => Process): ReferenceEffects<Owner, string> {
    return {
      flushSoon: () => {
        self().isFlushDue = true;
      },
      borrow: (owner, request, seqs) => {
        if (self().gone.has(owner.processId)) return undefined;
        this.#send(self(), this.#process(owner.processId), { kind: "borrow", request, seqs });
        return owner.processId;
      },
      unborrow: (owner, seqs) =>
        this.#send(self(), this.#process(owner.processId), { kind: "unborrow", request: 0, seqs }),
      acknowledge: (to, request) => this.#send(self(), this.#process(to), { kind: "borrowed", request }),
      keep: (object) => {
        const entry = self().heap.get(`${self().id}:${object.seq}`);
        if (entry !== undefined) self().kept.add(entry);
        return entry !== undefined;
      },
      letGo: (object) => {
        const entry = self().heap.get(`${self().id}:${object.seq}`);
        if (entry !== undefined) self().kept.delete(entry);
      },
      free: (object) => this.#onFree(self(), object),
      keepCopy: (seq, copies) => {
        for (const node of copies)
          if (!this.#copies.has(`${self().id}:${seq}@${String(node[0])}`))
            throw new Error(`${self().id}:${seq} is to be kept where no copy was made`);
      },
      dropCopy: (seq, node) => {
        this.#copies.delete(`${self().id}:${seq}@${String(node[0])}`);
      },
    };
  }

  // --- what must hold ---

  /** Nothing is freed that a live process reaches, or that a message on its way to one carries. */
  #onFree(owner: Process, object: OwnedObject<string>): void {
    const id = `${owner.id}:${object.seq}`;
    this.#tell(() => `${owner.id} frees ${id}`);
    this.#freed.add(id);
    for (const node of object.copies ?? []) this.#copies.delete(`${id}@${String(node[0])}`);
    if (this.#excused.has(id)) return;
    for (const process of this.#processes) {
      if (!process.isAlive) continue;
      for (const entry of process.reachable())
        if (entry.id === id) throw new Error(`${id} was freed while ${process.id} reaches it`);
    }
    for (const { from, to, messages } of this.#channels.values()) {
      if (!to.isAlive) continue;
      for (const message of messages)
        if ("refs" in message && message.refs.includes(id))
          throw new Error(`${id} was freed while ${message.kind} carries it from ${from.id} to ${to.id}`);
    }
  }

  /** Everything is dropped, and all that is on its way arrives. */
  #settle(): void {
    const alive = () => this.#processes.filter(({ isAlive }) => isAlive);
    for (const process of alive()) process.variables = [];
    this.#tell(() => "everything is dropped");
    for (let isQuiet = false; !isQuiet; ) {
      isQuiet = true;
      while (this.#deliverAny()) isQuiet = false;
      for (const process of alive()) {
        const before = process.serving.size;
        for (const task of process.serving) if (!this.#blocked.has(task)) this.#finishTask(process);
        process.variables = [];
        if (process.serving.size !== before || process.isFlushDue) isQuiet = false;
        this.#flush(process);
        this.#collect(process);
        if (process.unreported.length > 0) isQuiet = false;
        this.#report(process);
        process.machine.checkInvariants();
      }
    }
  }

  #checkAllFreed(): void {
    for (const process of this.#processes) {
      if (!process.isAlive) continue;
      for (const [what, left] of Object.entries({
        objects: process.heap.size,
        calls: process.calls.size,
        tasks: process.serving.size,
        handoffs: process.handoffs.size,
        "values asked for": process.asked.size,
      }))
        if (left > 0) throw new Error(`${left} ${what} are left at ${process.id} when all is quiet`);
      if (!process.machine.isEmpty)
        throw new Error(`the tables of ${process.id} are not empty when all is quiet`);
    }
    for (const id of this.#made.keys()) {
      const owner = this.#process(id.split(":")[0] as string);
      if (owner.isAlive && !this.#freed.has(id)) throw new Error(`${id} was never freed`);
    }
    for (const copy of this.#copies) {
      const owner = this.#process(copy.split(":")[0] as string);
      if (owner.isAlive) throw new Error(`the copy ${copy} was never dropped`);
    }
  }

  // --- chance ---

  #tell(line: () => string): void {
    if (this.#isTold) this.story.push(line());
  }

  #process(id: string): Process {
    return this.#processes.find((process) => process.id === id) as Process;
  }

  #below(n: number): number {
    return Math.floor(this.#random() * n);
  }

  #pick<T>(from: readonly T[]): T | undefined {
    return from[this.#below(from.length)];
  }

  #some<T>(from: readonly T[], share = 0.4): T[] {
    return from.filter(() => this.#random() < share);
  }
}

function idsOf(entries: readonly Entry[]): string {
  return entries.map(({ id }) => id).join(", ");
}

/** Mulberry32 (Tommy Ettinger, public domain): 32 bits of state, even enough for choices. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
