/**
 * The real actor machine at a head, over a network that loses, delays and doubles calls, and nodes that die. The raylets'
 * side (src/raylet/actors.ts) and the directory's are written small here; the truth is which processes run.
 */

import { Endpoint } from "../../src/core/wire/gen/tsray/v1/common.ts";
import {
  type ActorEffect,
  type ActorEvent,
  type ActorState,
  type ActorWordFromRaylet,
  checkInvariants,
  newActorState,
  step,
} from "../../src/head/actors/actor-machine.ts";
import type { Clock } from "./clock.ts";

const LOST = 0.15;
const DOUBLED = 0.1;
const RETRY_MS = 100;

interface Hosted {
  readonly incarnation: number;
  alive: boolean;
}

class Host {
  readonly id: string;
  alive = true;
  readonly hosted = new Map<string, Hosted>();
  /** The last life of each actor that ended here, and whether it was stopped. */
  readonly ended = new Map<string, { incarnation: number; stopped: boolean }>();
  constructor(id: string) {
    this.id = id;
  }
}

interface Actor {
  state: ActorState;
  /** Calls to raylets go one after another per node. */
  readonly calls: Map<string, (() => void)[]>;
}

export class ActorWorld {
  readonly #clock: Clock;
  readonly #hosts: Host[] = [];
  readonly #actors = new Map<string, Actor>();
  #nextHost = 1;
  faults = true;

  constructor(clock: Clock, count: number) {
    this.#clock = clock;
    for (let i = 0; i < 3; i++) this.#addHost();
    for (let i = 0; i < count; i++) {
      const state = newActorState({
        actorId: `actor${i}`,
        detached: true,
        maxRestarts: i % 2 === 0 ? -1 : 3,
      });
      const actor: Actor = { state, calls: new Map() };
      this.#actors.set(state.actorId, actor);
      clock.after(clock.between(0, 500), () => this.#apply(actor, { kind: "created" }));
    }
  }

  // --- faults ---

  /** A process of an actor dies by itself. */
  crash(): void {
    const running = this.#hosts.flatMap((host) =>
      [...host.hosted].map(([id, hosted]) => ({ host, id, hosted })),
    );
    const victim = this.#clock.pick(running.filter(({ host, hosted }) => host.alive && hosted.alive));
    if (victim === undefined) return;
    this.#clock.note(`${victim.id} i${victim.hosted.incarnation} crashes on ${victim.host.id}`);
    this.#processEnds(victim.host, victim.id, victim.hosted, false);
  }

  kill(): void {
    const actor = this.#clock.pick([...this.#actors.values()]);
    if (actor === undefined) return;
    const noRestart = this.#clock.chance(0.05);
    this.#apply(actor, {
      kind: "killed",
      noRestart,
      graceful: false,
      reason: "it was killed",
      requestId: "",
    });
  }

  killHost(): void {
    const host = this.#clock.pick(this.#hosts.filter(({ alive }) => alive));
    if (host === undefined) return;
    this.#clock.note(`host ${host.id} dies`);
    host.alive = false;
    for (const hosted of host.hosted.values()) hosted.alive = false;
    // The head learns of it some time later, never before it is true.
    this.#clock.after(this.#clock.between(50, 3000), () => {
      for (const actor of this.#actors.values())
        this.#apply(actor, { kind: "nodeDied", nodeId: host.id, reason: `node ${host.id} is dead` });
    });
    this.#clock.after(this.#clock.between(100, 1000), () => this.#addHost());
  }

  #addHost(): void {
    this.#hosts.push(new Host(`h${this.#nextHost++}`));
  }

  // --- what must hold ---

  check(): void {
    for (const { state } of this.#actors.values()) {
      checkInvariants(state);
      const lives = this.#hosts.filter(
        ({ alive, hosted }) => alive && hosted.get(state.actorId)?.alive === true,
      );
      if (lives.length > 1)
        throw new Error(`${state.actorId} lives on ${lives.map(({ id }) => id).join(" and ")}`);
    }
  }

  /** Every actor is dead for good, or alive where the head says. */
  get isDone(): boolean {
    return [...this.#actors.values()].every(({ state }) => {
      const runs = this.#hosts.filter(
        ({ alive, hosted }) => alive && hosted.get(state.actorId)?.alive === true,
      );
      if (state.phase === "DEAD") return runs.length === 0;
      return state.phase === "ALIVE" && runs.length === 1 && runs[0]?.id === state.nodeId;
    });
  }

  unfinished(): string {
    return [...this.#actors.values()]
      .map(({ state }) => `${state.actorId} ${state.phase} on ${state.nodeId}`)
      .join(", ");
  }

  // --- the head ---

  #apply(actor: Actor, event: ActorEvent): void {
    const before = actor.state;
    const { state, effects } = step(before, event);
    actor.state = state;
    if (state.version !== before.version)
      this.#clock.note(
        `${state.actorId} ${event.kind} -> ${state.phase} i${state.incarnation} ${state.nodeId ?? ""}`,
      );
    for (const effect of effects) this.#carryOut(actor, effect);
  }

  #carryOut(actor: Actor, effect: ActorEffect): void {
    switch (effect.kind) {
      case "place":
        this.#place(actor);
        break;
      case "start":
        this.#inOrder(actor, effect.nodeId, (done) =>
          this.#start(actor, effect.nodeId, effect.incarnation, done),
        );
        break;
      case "stop": {
        const { nodeId } = effect;
        const { stoppingOn, incarnation } = actor.state;
        const upTo = stoppingOn === nodeId ? incarnation - 1 : incarnation;
        this.#inOrder(actor, nodeId, (done) => this.#stop(actor, nodeId, upTo, done));
        break;
      }
      default:
        break;
    }
  }

  #place(actor: Actor): void {
    this.#clock.after(this.#clock.between(1, 50), () => {
      const { phase, nodeId, stoppingOn } = actor.state;
      if (phase === "DEAD" || nodeId !== undefined || stoppingOn !== undefined) return;
      const host = this.#clock.pick(this.#hosts.filter(({ alive }) => alive));
      if (host === undefined) this.#place(actor);
      else this.#apply(actor, { kind: "placed", nodeId: host.id });
    });
  }

  #inOrder(actor: Actor, nodeId: string, call: (done: () => void) => void): void {
    const waiting = actor.calls.get(nodeId);
    const next = () => {
      const following = actor.calls.get(nodeId)?.shift();
      if (following === undefined) actor.calls.delete(nodeId);
      else following();
    };
    if (waiting !== undefined) waiting.push(() => call(next));
    else {
      actor.calls.set(nodeId, []);
      call(next);
    }
  }

  /** A unary call that is made again until it is answered; what is lost, doubled or late is chance. */
  #call<R>(
    host: Host,
    isWanted: () => boolean,
    serve: (answer: (reply: R) => void) => void,
    then: (reply: R | undefined) => void,
  ): void {
    if (!isWanted() || !host.alive) {
      then(undefined);
      return;
    }
    const clock = this.#clock;
    let isOver = false;
    const arrive = () =>
      clock.after(clock.between(0.1, 30), () => {
        if (!host.alive) return;
        serve((reply) => {
          if (this.faults && clock.chance(LOST)) return;
          clock.after(clock.between(0.1, 30), () => {
            if (isOver) return;
            isOver = true;
            then(reply);
          });
        });
      });
    if (!this.faults || !clock.chance(LOST)) arrive();
    if (this.faults && clock.chance(DOUBLED)) clock.after(clock.between(0, 300), arrive);
    clock.after(RETRY_MS, () => {
      if (isOver) return;
      isOver = true;
      this.#call(host, isWanted, serve, then);
    });
  }

  #start(actor: Actor, nodeId: string, incarnation: number, done: () => void): void {
    const host = this.#host(nodeId);
    const isWanted = () => {
      const { state } = actor;
      return state.nodeId === nodeId && state.incarnation === incarnation && !state.accepted;
    };
    this.#call<boolean>(
      host,
      isWanted,
      (answer) => this.#hostStarts(host, actor, incarnation, answer),
      (accepted) => {
        if (accepted === true) this.#apply(actor, { kind: "accepted", nodeId, incarnation });
        else if (accepted === false)
          this.#apply(actor, { kind: "rejected", nodeId, incarnation, reason: "refused" });
        done();
      },
    );
  }

  #stop(actor: Actor, nodeId: string, upTo: number, done: () => void): void {
    const host = this.#host(nodeId);
    this.#call<true>(
      host,
      () => true,
      (answer) => {
        const { actorId } = actor.state;
        const hosted = host.hosted.get(actorId);
        if ((host.ended.get(actorId)?.incarnation ?? -1) < upTo)
          host.ended.set(actorId, { incarnation: upTo, stopped: true });
        if (hosted === undefined || hosted.incarnation > upTo) answer(true);
        else
          this.#clock.after(this.#clock.between(1, 20), () => {
            this.#processEnds(host, actor.state.actorId, hosted, true);
            answer(true);
          });
      },
      (answered) => {
        if (answered === true) this.#apply(actor, { kind: "stopped", nodeId });
        done();
      },
    );
  }

  // --- the raylets ---

  #hostStarts(host: Host, actor: Actor, incarnation: number, answer: (accepted: boolean) => void): void {
    const { actorId } = actor.state;
    const known = host.hosted.get(actorId);
    if (known !== undefined && known.incarnation >= incarnation) {
      answer(known.incarnation === incarnation);
      return;
    }
    if (known !== undefined) this.#processEnds(host, actorId, known, true);
    const ended = host.ended.get(actorId);
    if (ended !== undefined && ended.incarnation >= incarnation) {
      answer(ended.incarnation === incarnation && !ended.stopped);
      return;
    }
    const hosted: Hosted = { incarnation, alive: true };
    host.hosted.set(actorId, hosted);
    this.#clock.note(`${actorId} i${incarnation} runs on ${host.id}`);
    answer(true);
    this.#clock.after(this.#clock.between(5, 100), () => {
      if (host.alive && hosted.alive) this.#report(host, actor, incarnation, "ALIVE");
    });
  }

  #processEnds(host: Host, actorId: string, hosted: Hosted, stopped: boolean): void {
    if (!host.alive || !hosted.alive) return;
    hosted.alive = false;
    host.hosted.delete(actorId);
    if ((host.ended.get(actorId)?.incarnation ?? -1) < hosted.incarnation)
      host.ended.set(actorId, { incarnation: hosted.incarnation, stopped });
    this.#report(host, this.#actors.get(actorId) as Actor, hosted.incarnation, "CRASHED");
  }

  /** Until the head has it; reports may overtake each other. */
  #report(host: Host, actor: Actor, incarnation: number, state: ActorWordFromRaylet["state"]): void {
    if (!host.alive) return;
    const clock = this.#clock;
    const report: ActorWordFromRaylet = {
      state,
      incarnation,
      nodeId: host.id,
      endpoint: Endpoint.fromPartial({ processId: `${actor.state.actorId}-${incarnation}` }),
      reason: "",
      error: Buffer.alloc(0),
    };
    const arrive = () =>
      clock.after(clock.between(0.1, 60), () => this.#apply(actor, { kind: "reported", report }));
    if (this.faults && clock.chance(LOST)) {
      clock.after(RETRY_MS, () => this.#report(host, actor, incarnation, state));
      if (clock.chance(0.5)) arrive();
    } else arrive();
    if (this.faults && clock.chance(DOUBLED)) arrive();
  }

  #host(nodeId: string): Host {
    return this.#hosts.find(({ id }) => id === nodeId) as Host;
  }
}
