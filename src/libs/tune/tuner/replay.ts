/**
 * How an experiment comes back from its journal: the snapshot, then every record since through the same machines that made
 * them, then what the crash left half done.
 */
import { decode, encode } from "../journal/encoding.ts";
import { Journal } from "../journal/journal.ts";
import type { Exploit, Order } from "../schedulers/scheduler.ts";
import type { Storage } from "../storage/storage.ts";
import { Experiment, type ExperimentEvent, type Header, type TrialState } from "./experiment.ts";
import type { Study } from "./study.ts";

type Snapshot = ReturnType<Experiment["snapshot"]> & {
  readonly study: unknown;
  /** Decided, and not carried out yet. */
  readonly orders: readonly Order[];
};

export interface Replayed {
  readonly experiment: Experiment;
  /** Trials that ran when the driver ended. */
  readonly interrupted: readonly string[];
  /** What the scheduler had decided about trials and nobody had carried out. */
  readonly orders: ReadonlyMap<string, Order>;
  readonly notes: readonly string[];
}

/** What an experiment is, beside its journal so that it can be told without reading all of that. */
export const HEADER_FILE = "experiment.json";

/** undefined where no experiment is recorded. */
export function readHeader(storage: Storage): Header | undefined {
  const text = storage.readText(HEADER_FILE);
  if (text === undefined || !Journal.exists(storage)) return undefined;
  return JSON.parse(text) as Header;
}

/** The experiment alone, for reading results. undefined where none is recorded. */
export function readExperiment(
  storage: Storage,
): { readonly experiment: Experiment; readonly notes: readonly string[] } | undefined {
  const loaded = Journal.load<ExperimentEvent>(storage);
  if (loaded === undefined) return undefined;
  const experiment = Experiment.fromSnapshot(decode(loaded.snapshot) as Snapshot);
  for (const record of loaded.records) experiment.apply(decode(record) as ExperimentEvent);
  return { experiment, notes: loaded.notes };
}

/** The experiment, and with it the study's state. */
export function replay(storage: Storage, study: Study): Replayed | undefined {
  const loaded = Journal.load<ExperimentEvent>(storage);
  if (loaded === undefined) return undefined;
  const snapshot = decode(loaded.snapshot) as Snapshot;
  const experiment = Experiment.fromSnapshot(snapshot);
  if (snapshot.study !== undefined) study.restore(snapshot.study);
  const orders = new Map(snapshot.orders.map((order) => [order.trialId, order]));
  for (const record of loaded.records)
    replayRecord(decode(record) as ExperimentEvent, experiment, study, orders);
  return { experiment, interrupted: [...experiment.byStatus.RUNNING], orders, notes: loaded.notes };
}

export function snapshotOf(experiment: Experiment, study: Study, orders: readonly Order[]): unknown {
  return encode({ ...experiment.snapshot(), study: study.save(), orders });
}

function replayRecord(
  event: ExperimentEvent,
  experiment: Experiment,
  study: Study,
  orders: Map<string, Order>,
): void {
  if (event.kind === "add") study.suggest(event.id);
  experiment.apply(event);
  if (event.kind === "add" || event.kind === "exhausted") return;
  const trial = experiment.get(event.id);
  switch (event.kind) {
    case "report": {
      const decision = judgeAgain(trial, event, study);
      if (typeof decision === "object" && decision.kind === "exploit")
        orders.set(event.id, { ...decision, trialId: event.id } satisfies Order & Exploit);
      break;
    }
    case "end":
      study.ended(trial, event.status === "ERROR");
      orders.delete(event.id);
      break;
    case "exploit":
      orders.delete(event.id);
      break;
    default:
      return;
  }
  for (const order of study.takeOrders()) orders.set(order.trialId, order);
}

function judgeAgain(trial: TrialState, event: Extract<ExperimentEvent, { kind: "report" }>, study: Study) {
  try {
    return study.judge(trial, event.othersWait, event.elapsed / 1000).decision;
  } catch {
    return undefined; // it ended the run then; this run meets it again where it still matters
  }
}
