/** `tsray memory`: what the nodes' stores hold, and which process holds which object, and why. */
import type { StoreStats } from "../core/wire/gen/tsray/v1/common.ts";
import type { ProcessObjects } from "../core/wire/gen/tsray/v1/head.ts";
import { readWhole } from "./flags.ts";
import { askHead, type HeadFlags } from "./head.ts";
import { bold, printJson, printTable, red, showBytes } from "./output.ts";
import { UsageError } from "./usage-error.ts";

export interface MemoryFlags extends HeadFlags {
  readonly limit?: string;
  readonly json?: boolean;
}

const ROWS_DEFAULT = "50";
const ROWS_MAX = 10_000;

/** What `--json` prints. Sizes are bytes; -1 = not known to that process. */
interface ClusterMemory {
  readonly stores: readonly (StoreStats & { readonly nodeId: string })[];
  readonly processes: readonly ProcessObjects[];
  /** Nodes that did not answer. */
  readonly unreachable: readonly string[];
}

export async function memory(flags: MemoryFlags): Promise<void> {
  const rowsMax = readWhole("--limit", flags.limit ?? ROWS_DEFAULT);
  if (rowsMax < 1 || rowsMax > ROWS_MAX)
    throw new UsageError(`--limit must be from 1 to ${ROWS_MAX}, got ${rowsMax}`);
  const found = await askHead(flags, async (head, ask): Promise<ClusterMemory> => {
    const { processes, stores, unreachable } = await ask(head.listObjects, { rowsMax });
    return {
      stores: stores.flatMap(({ nodeId, stats }) => (stats === undefined ? [] : [{ nodeId, ...stats }])),
      processes,
      unreachable,
    };
  });
  if (flags.json) printJson(found);
  else print(found);
  if (found.unreachable.length > 0)
    console.error(`tsray: no answer from node ${found.unreachable.join(", ")}: its objects are missing here`);
}

function print({ stores, processes }: ClusterMemory): void {
  console.log(bold("stores"));
  printTable(
    ["node", "used", "of", "objects", "pinned", "evictable", "spilled", "spilledObjects", "readBack"],
    stores.map((store) => ({
      node: store.nodeId,
      used: showBytes(store.usedBytes),
      of: showBytes(store.capacityBytes),
      objects: store.objects,
      pinned: store.pinnedObjects,
      evictable: showBytes(store.evictableBytes),
      spilled: showBytes(store.spilledBytes),
      spilledObjects: store.spilledObjects,
      readBack: showBytes(store.readBackBytesTotal),
    })),
  );
  for (const { nodeId, spillDir, spillError, damagedObjects } of stores) {
    if (spillError !== "") console.log(red(`node ${nodeId} cannot spill to ${spillDir}: ${spillError}`));
    if (damagedObjects > 0)
      console.log(
        red(`node ${nodeId} has dropped ${damagedObjects} spilled objects that had changed on disk`),
      );
  }

  const holding = processes.filter(({ objectsTotal }) => objectsTotal > 0);
  if (holding.length === 0) console.log("\nno process holds an object");
  for (const { pid, nodeId, isDriver, rows, objectsTotal, bytesTotal } of holding) {
    const who = `${isDriver ? "driver" : "worker"} ${pid} on node ${nodeId}`;
    console.log(`\n${bold(who)}  ${objectsTotal} objects, ${showBytes(bytesTotal)} known`);
    const hasSites = rows.some(({ callSite }) => callSite !== "");
    printTable(
      ["object", "size", "why", "owner", "nodes", ...(hasSites ? ["madeAt"] : [])],
      rows.map((row) => ({
        object: row.objectId,
        size: row.sizeBytes < 0 ? "?" : showBytes(row.sizeBytes),
        why: row.kinds.map((kind) => (kind === "LENT" ? `LENT to ${row.lentTo}` : kind)).join(", "),
        owner: row.ownerPid === pid ? "itself" : row.ownerPid,
        nodes: row.nodes.join(" "),
        madeAt: row.callSite,
      })),
    );
    if (rows.length < objectsTotal)
      console.log(`... and ${objectsTotal - rows.length} smaller ones (--limit)`);
  }
}
