/** `tsray list KIND`: rows of the cluster's tables. */
import { fromUnits } from "../core/base/resources.ts";
import type { ProcessObjects } from "../core/wire/gen/tsray/v1/head.ts";
import { readPair } from "./flags.ts";
import { askHead, type HeadFlags } from "./head.ts";
import { printJson, printTable, type Row } from "./output.ts";
import { describeNode } from "./status.ts";
import { UsageError } from "./usage-error.ts";

export interface ListFlags extends HeadFlags {
  readonly json?: boolean;
  readonly filter?: readonly string[];
}

interface Kind {
  /** Columns of the table; JSON has every field. */
  readonly columns: readonly string[];
  /** Every field of a row: what `--filter` may name. */
  readonly fields: readonly string[];
  read(
    flags: HeadFlags,
  ): Promise<{ readonly rows: readonly Row[]; readonly unreachable?: readonly string[] }>;
}

const KINDS: Readonly<Record<string, Kind>> = {
  nodes: {
    columns: ["nodeId", "state", "isHead", "pid", "address", "labels"],
    fields: [
      "nodeId",
      "alive",
      "state",
      "isHead",
      "address",
      "pid",
      "labels",
      "total",
      "available",
      "store",
      "transfers",
      "startedAt",
      "deathReason",
    ],
    read: (flags) =>
      askHead(flags, async (head, ask) => ({
        rows: (await ask(head.listNodes, {})).nodes.map((node) => ({ ...describeNode(node) })),
      })),
  },
  actors: {
    columns: ["actorId", "className", "state", "name", "nodeId", "pid", "restarts", "reason"],
    fields: [
      "actorId",
      "className",
      "state",
      "name",
      "namespace",
      "jobId",
      "nodeId",
      "pid",
      "restarts",
      "maxRestarts",
      "detached",
      "resources",
      "reason",
    ],
    read: (flags) =>
      askHead(flags, async (head, ask) => ({
        rows: (await ask(head.listActors, {})).actors.map((actor) => ({
          actorId: actor.actorId,
          className: actor.className,
          state: actor.state,
          name: actor.name,
          namespace: actor.namespace,
          jobId: actor.jobId,
          nodeId: actor.endpoint?.nodeId ?? "",
          pid: actor.endpoint?.pid ?? 0,
          restarts: actor.incarnation,
          maxRestarts: actor.maxRestarts,
          detached: actor.detached,
          resources: fromUnits(actor.resources?.amounts ?? {}),
          reason: actor.deathReason || actor.pendingReason,
        })),
      })),
  },
  tasks: {
    columns: ["taskId", "name", "state", "count", "nodeId", "pid", "attempt", "reason"],
    fields: [
      "taskId",
      "name",
      "jobId",
      "state",
      "reason",
      "nodeId",
      "pid",
      "attempt",
      "ownerProcessId",
      "count",
    ],
    read: (flags) =>
      askHead(flags, async (head, ask) => {
        const { tasks, unreachable } = await ask(head.listTasks, {});
        return { rows: tasks.map((task) => ({ ...task })), unreachable };
      }),
  },
  objects: {
    columns: ["objectId", "sizeBytes", "kinds", "ownerPid", "nodes"],
    fields: [
      "objectId",
      "sizeBytes",
      "kinds",
      "ownerProcessId",
      "ownerPid",
      "ownerNodeId",
      "nodes",
      "callSite",
    ],
    read: (flags) =>
      askHead(flags, async (head, ask) => {
        const { processes, unreachable } = await ask(head.listObjects, { rowsMax: OBJECT_ROWS_MAX });
        return { rows: objectsOf(processes), unreachable };
      }),
  },
  workers: {
    columns: ["workerId", "nodeId", "pid", "state", "jobId", "running"],
    fields: ["workerId", "nodeId", "pid", "state", "jobId", "running", "startedAt"],
    read: (flags) =>
      askHead(flags, async (head, ask) => {
        const { workers, unreachable } = await ask(head.listWorkers, {});
        return {
          rows: workers.map(({ startedAtMs, ...worker }) => ({ ...worker, startedAt: time(startedAtMs) })),
          unreachable,
        };
      }),
  },
  jobs: {
    columns: ["jobId", "state", "driverPid", "startedAt", "endedAt", "entryUrl"],
    fields: ["jobId", "namespace", "entryUrl", "driverPid", "state", "startedAt", "endedAt"],
    read: (flags) =>
      askHead(flags, async (head, ask) => ({
        rows: (await ask(head.listJobs, {})).jobs.map(({ startedAtMs, endedAtMs, ...job }) => ({
          ...job,
          startedAt: time(startedAtMs),
          endedAt: time(endedAtMs),
        })),
      })),
  },
  "placement-groups": {
    columns: ["groupId", "name", "strategy", "state", "bundles", "nodes", "reason"],
    fields: [
      "groupId",
      "name",
      "namespace",
      "strategy",
      "state",
      "detached",
      "jobId",
      "bundles",
      "nodes",
      "reason",
    ],
    read: (flags) =>
      askHead(flags, async (head, ask) => ({
        rows: (await ask(head.listPlacementGroups, {})).groups.map(({ spec, state, nodeIds, reason }) => ({
          groupId: spec?.groupId ?? "",
          name: spec?.name ?? "",
          namespace: spec?.namespace ?? "",
          strategy: spec?.strategy ?? "",
          state,
          detached: spec?.detached ?? false,
          jobId: spec?.jobId ?? "",
          bundles: (spec?.bundles ?? []).map(({ resources }) => fromUnits(resources?.amounts ?? {})),
          nodes: nodeIds.join(" "),
          reason,
        })),
      })),
  },
};
const OBJECT_ROWS_MAX = 5000;

export async function list(name: string, flags: ListFlags): Promise<void> {
  const kind = Object.hasOwn(KINDS, name) ? KINDS[name] : undefined;
  if (kind === undefined) {
    throw new UsageError(
      `there is no list of ${JSON.stringify(name)}: it is one of ${Object.keys(KINDS).join(", ")}`,
    );
  }
  const filters = (flags.filter ?? []).map((text) => readPair("--filter", text));
  for (const [field] of filters) {
    if (!kind.fields.includes(field)) {
      throw new UsageError(
        `${name} have no field ${JSON.stringify(field)} to filter by: they have ${kind.fields.join(", ")}`,
      );
    }
  }
  const { rows, unreachable = [] } = await kind.read(flags);
  const shown = rows.filter((row) => filters.every(([field, value]) => String(row[field]) === value));
  if (flags.json) printJson(shown);
  else if (shown.length === 0)
    console.log(`no ${name}${filters.length > 0 && rows.length > 0 ? " match" : ""}`);
  else printTable(kind.columns, shown);
  if (unreachable.length > 0)
    console.error(`tsray: no answer from node ${unreachable.join(", ")}: its ${name} are missing here`);
}

/** One row per object, with why anybody holds it; the owner knows most of it. */
function objectsOf(processes: readonly ProcessObjects[]): Row[] {
  const objects = new Map<string, Row & { readonly kinds: string }>();
  const byOwner = processes.flatMap(({ processId, rows }) =>
    rows.map((row) => ({ row, isOwner: row.ownerProcessId === processId })),
  );
  for (const { row } of byOwner.sort((a, b) => Number(b.isOwner) - Number(a.isOwner))) {
    const { objectId, ownerProcessId, ownerPid, ownerNodeId, callSite } = row;
    const known = objects.get(objectId);
    const kinds = new Set([...(known?.kinds.split(" ") ?? []), ...row.kinds]);
    objects.set(objectId, {
      objectId,
      sizeBytes: row.sizeBytes,
      ownerProcessId,
      ownerPid,
      ownerNodeId,
      nodes: row.nodes.join(" "),
      callSite,
      ...known,
      kinds: [...kinds].join(" "),
    });
  }
  return [...objects.values()];
}

/** "" where it has not happened. */
function time(ms: number): string {
  return ms > 0 ? new Date(ms).toISOString() : "";
}
