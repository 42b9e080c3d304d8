/** `tsray status`: nodes, resources, and what waits for them. */
import { add, fromUnits, subtract } from "../core/base/resources.ts";
import { type NodeInfo, StoreStats } from "../core/wire/gen/tsray/v1/common.ts";
import { askHead, type HeadFlags } from "./head.ts";
import { bold, printJson, printTable, red, showAmount, showAmounts, showBytes } from "./output.ts";

export interface StatusFlags extends HeadFlags {
  readonly json?: boolean;
}

/** What `--json` prints. Amounts are whole numbers and fractions, times are ISO 8601. */
export interface ClusterStatus {
  readonly address: string;
  readonly clusterId: string;
  readonly version: string;
  readonly startedAt: string;
  readonly nodes: readonly NodeStatus[];
  readonly resources: Readonly<Record<string, { readonly used: number; readonly total: number }>>;
  readonly store: {
    readonly usedBytes: number;
    readonly capacityBytes: number;
    readonly spilledBytes: number;
  };
  readonly pending: readonly PendingStatus[];
}

interface NodeStatus {
  readonly nodeId: string;
  readonly alive: boolean;
  /** ALIVE, DRAINING, DRAINED or DEAD. */
  readonly state: string;
  readonly isHead: boolean;
  readonly address: string;
  readonly pid: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly total: Readonly<Record<string, number>>;
  readonly available: Readonly<Record<string, number>>;
  readonly store: StoreStats;
  /** Objects that went from node to node, since the node started. */
  readonly transfers: {
    readonly sentBytes: number;
    readonly receivedBytes: number;
    readonly receivedObjects: number;
  };
  readonly startedAt: string;
  readonly deathReason: string;
}

interface PendingStatus {
  readonly nodeId: string;
  readonly resources: Readonly<Record<string, number>>;
  readonly count: number;
  readonly reason: string;
}

export async function status(flags: StatusFlags): Promise<void> {
  const found = await readStatus(flags);
  if (flags.json) printJson(found);
  else printStatus(found);
}

function readStatus(flags: HeadFlags): Promise<ClusterStatus> {
  return askHead(flags, async (head, ask, address) => {
    const [info, { nodes, pending }] = await Promise.all([
      ask(head.clusterInfo, {}),
      ask(head.listNodes, {}),
    ]);
    const alive = nodes.filter((node) => node.alive);
    const sum = (amount: (node: NodeInfo) => number) =>
      alive.reduce((total, node) => total + amount(node), 0);
    return {
      address,
      clusterId: info.clusterId,
      version: info.version,
      startedAt: new Date(info.startedAtMs).toISOString(),
      nodes: nodes.map(describeNode),
      resources: sumResources(alive),
      store: {
        usedBytes: sum((node) => node.store?.usedBytes ?? 0),
        capacityBytes: sum((node) => node.store?.capacityBytes ?? 0),
        spilledBytes: sum((node) => node.store?.spilledBytes ?? 0),
      },
      pending: pending.flatMap(({ nodeId, demands }) =>
        demands.map(({ resources, count, reason }) => ({
          nodeId,
          resources: fromUnits(resources?.amounts ?? {}),
          count,
          reason,
        })),
      ),
    };
  });
}

export function describeNode(node: NodeInfo): NodeStatus {
  return {
    nodeId: node.nodeId,
    alive: node.alive,
    state: node.state,
    isHead: node.isHead,
    address: node.rayletAddress,
    pid: node.pid,
    labels: node.labels,
    total: fromUnits(node.total?.amounts ?? {}),
    available: fromUnits(node.available?.amounts ?? {}),
    store: node.store ?? StoreStats.fromPartial({}),
    transfers: node.transfers ?? { sentBytes: 0, receivedBytes: 0, receivedObjects: 0 },
    startedAt: new Date(node.startedAtMs).toISOString(),
    deathReason: node.deathReason,
  };
}

function sumResources(alive: readonly NodeInfo[]): ClusterStatus["resources"] {
  const total: Record<string, number> = {};
  for (const node of alive) add(total, node.total?.amounts ?? {});
  const used = { ...total };
  for (const node of alive) subtract(used, node.available?.amounts ?? {});
  const [all, taken] = [fromUnits(total), fromUnits(used)];
  const names = Object.keys(all).filter(
    (name) => !name.startsWith("node:") && name !== "object_store_memory",
  );
  return Object.fromEntries(
    names.sort().map((name) => [name, { used: taken[name] ?? 0, total: all[name] ?? 0 }]),
  );
}

function printStatus(found: ClusterStatus): void {
  const dead = found.nodes.filter((node) => !node.alive);
  const aliveCount = found.nodes.length - dead.length;
  console.log(`${bold(`cluster at ${found.address}`)}  tsray ${found.version}, since ${found.startedAt}`);
  console.log(`${aliveCount} ${aliveCount === 1 ? "node" : "nodes"} alive, ${dead.length} dead\n`);
  printTable(
    ["node", "role", "pid", "address", "cpuUsed", "store", "spilled", "labels"],
    found.nodes
      .filter((node) => node.alive)
      .map((node) => ({
        node: node.nodeId,
        role: node.isHead ? "head" : "",
        pid: node.pid,
        address: node.address,
        cpuUsed: `${round((node.total.CPU ?? 0) - (node.available.CPU ?? 0))}/${node.total.CPU ?? 0}`,
        store: `${showBytes(node.store.usedBytes)}/${showBytes(node.store.capacityBytes)}`,
        spilled: showBytes(node.store.spilledBytes),
        labels: node.labels,
      })),
  );
  for (const node of dead) console.log(red(`dead: ${node.deathReason}`));

  console.log(`\n${bold("resources")}  used/total`);
  for (const [name, { used, total }] of Object.entries(found.resources)) {
    console.log(`  ${name}  ${showAmount(name, used)}/${showAmount(name, total)}`);
  }
  const { usedBytes, capacityBytes, spilledBytes } = found.store;
  const onDisk = spilledBytes > 0 ? `, and ${showBytes(spilledBytes)} spilled to disk` : "";
  console.log(`  objects  ${showBytes(usedBytes)}/${showBytes(capacityBytes)}${onDisk}`);
  for (const { nodeId, store } of found.nodes) {
    if (store.spillError !== "")
      console.log(red(`node ${nodeId} cannot spill to ${store.spillDir}: ${store.spillError}`));
  }

  if (found.pending.length === 0) {
    console.log("\nnothing waits for resources");
    return;
  }
  console.log(`\n${bold("waiting")}`);
  for (const { nodeId, resources, count, reason } of found.pending) {
    console.log(`  ${count} x {${showAmounts(resources)}} at node ${nodeId}: ${reason}`);
  }
}

function round(amount: number): number {
  return Math.round(amount * 10_000) / 10_000;
}
