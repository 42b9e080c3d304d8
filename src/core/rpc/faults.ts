/**
 * Faults that tests and the chaos run provoke in what this process says to others: what networks do now and then, at random
 * but from a seed. TSRAY_TEST_FAULTS is read once; without it nothing here runs.
 *
 *   TSRAY_TEST_FAULTS="seed=7,loseRequest=0.1,loseReply=0.1,inFlight=0.05,duplicate=0.1,delay=0.2,delayMs=50,
 *                      breakStream=0.001,cut=0.01,replay=0.5,hold=0.01,holdMs=50,only=ReportActors|CreateActors|tcp"
 *
 * Calls over gRPC (this file):
 *   loseRequest  the call fails and never arrives
 *   loseReply    it is served, and the answer is lost
 *   inFlight     the caller sees it fail at once, while it is still being served
 *   duplicate    it arrives twice
 *   delay        it leaves up to delayMs later (20 unless told)
 *   breakStream  per message written to a stream: the stream breaks
 *
 * Channels (stream-faults.ts):
 *   cut          per frame: the connection breaks before it, in its middle, or behind it
 *   cutAfter     the connection breaks at its n-th frame, in one of those ways
 *   replay       a connection that takes over sends again what the other side has already
 *   hold         per frame: it and all behind it leave up to holdMs later (50 unless told)
 *   proxyPort    connections between nodes go to that port of this machine, beginning with a line "host:port"
 *
 *   only         methods that this is done to, "unix" and "tcp" for the channels of a node and those between nodes
 */
import { basename } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ClusterUnreachableError, InvalidOptionError } from "../base/errors.ts";

const CHANCES = [
  "loseRequest",
  "loseReply",
  "inFlight",
  "duplicate",
  "delay",
  "breakStream",
  "cut",
  "replay",
  "hold",
] as const;
type Chance = (typeof CHANCES)[number];
const NUMBERS = ["seed", "delayMs", "cutAfter", "holdMs", "proxyPort"] as const;
type Name = Chance | (typeof NUMBERS)[number];

export type FaultPlan = Readonly<Record<Name, number>> & { readonly only: readonly string[] };

/** @throws InvalidOptionError naming what is no fault, or no chance */
export function parseFaults(spec: string): FaultPlan {
  const plan: Record<Name, number> & { only: string[] } = {
    seed: 1,
    loseRequest: 0,
    loseReply: 0,
    inFlight: 0,
    duplicate: 0,
    delay: 0,
    delayMs: 20,
    breakStream: 0,
    cut: 0,
    cutAfter: 0,
    replay: 0,
    hold: 0,
    holdMs: 50,
    proxyPort: 0,
    only: [],
  };
  for (const part of spec.split(",")) {
    const [name = "", value = ""] = part.trim().split("=");
    if (name === "only") plan.only = value.split("|");
    else {
      const isChance = (CHANCES as readonly string[]).includes(name);
      const number = value === "" ? Number.NaN : Number(value);
      const isKnown = isChance || (NUMBERS as readonly string[]).includes(name);
      if (!isKnown || !(number >= 0) || (isChance && number > 1)) {
        throw new InvalidOptionError(
          `TSRAY_TEST_FAULTS must be a list of ${NUMBERS.map((n) => `${n}=N`).join(", ")}, only=METHOD|METHOD and ` +
            `${CHANCES.join(", ")} with chances from 0 to 1, got "${part}"`,
        );
      }
      plan[name as Name] = number;
    }
  }
  return plan;
}

export class RpcFaults {
  readonly #plan: FaultPlan;
  readonly #random: () => number;

  /** @param salt tells processes of one run apart */
  constructor(plan: FaultPlan, salt = "") {
    this.#plan = plan;
    this.#random = randomFrom(plan.seed, salt);
  }

  /** Makes one unary call, or does to it what chance says. @param send may be called twice */
  async around<R>(method: string, send: () => Promise<R>): Promise<R> {
    const name = method.split("/").at(-1) ?? "";
    if (!this.#concerns(name)) return send();
    const { delayMs } = this.#plan;
    if (this.#happens("delay")) await sleep(this.#random() * delayMs);
    if (this.#happens("loseRequest")) throw lost(name, "the request was lost");
    if (this.#happens("duplicate")) {
      const again = sleep(this.#random() * delayMs).then(send);
      again.catch(() => {});
    }
    if (this.#happens("inFlight")) {
      send().catch(() => {});
      throw lost(name, "the connection failed while it was served");
    }
    const isReplyLost = this.#happens("loseReply");
    const reply = await send();
    if (isReplyLost) throw lost(name, "the reply was lost");
    return reply;
  }

  /** Whether the stream of that name breaks now. */
  breaks(stream: string): boolean {
    return this.#concerns(stream) && this.#happens("breakStream");
  }

  #concerns(name: string): boolean {
    const { only } = this.#plan;
    return only.length === 0 || only.includes(name);
  }

  #happens(chance: Chance): boolean {
    const p = this.#plan[chance];
    return p > 0 && this.#random() < p;
  }
}

function lost(method: string, how: string): ClusterUnreachableError {
  return new ClusterUnreachableError(`no answer to ${method}: ${how} (TSRAY_TEST_FAULTS)`);
}

/** mulberry32 */
export function randomFrom(seed: number, salt: string): () => number {
  let state = seed | 0;
  for (let i = 0; i < salt.length; i++) state = Math.imul(state ^ salt.charCodeAt(i), 0x01000193);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** What this process was told, read when it is first asked for; undefined where nobody asked for faults. */
export function faultPlan(): FaultPlan | undefined {
  if (!isRead) plan = process.env.TSRAY_TEST_FAULTS ? parseFaults(process.env.TSRAY_TEST_FAULTS) : undefined;
  isRead = true;
  return plan;
}
let isRead = false;
let plan: FaultPlan | undefined;

/** Which program of a run this is. */
export const saltOfProcess: string = basename(process.argv[1] ?? "");

/** Of this process's calls; undefined where nobody asked for faults. */
export function rpcFaults(): RpcFaults | undefined {
  const asked = faultPlan();
  if (asked !== undefined) faults ??= new RpcFaults(asked, saltOfProcess);
  return faults;
}
let faults: RpcFaults | undefined;
