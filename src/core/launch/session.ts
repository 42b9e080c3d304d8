/**
 * Directories of a running cluster on this machine: `<base>/tsray-<uid>/<session>/`, all 0700.
 *
 * A session holds the node's sockets, logs and the cluster's token. `sweep` removes what crashed sessions left.
 */
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from "node:fs";
import { hostname, tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { ClusterUnreachableError } from "../base/errors.ts";
import { randomId } from "../base/ids.ts";

/** Unix socket paths end at 107 bytes; sockets need up to 40 below the session directory. */
const BASE_CHARS_MAX = 50;
const SPILL_PREFIX = "tsray-spill-";
/** Magic numbers of tmpfs and ramfs. */
const MEMORY_FILE_SYSTEMS: ReadonlySet<number> = new Set([0x01021994, 0x858458f6]);
/** A session without a record of a daemon is left alone for this long after its last change. */
const YOUNG_MS = 3_600_000;

/** Written by each daemon of the session, so that drivers and commands find it. */
export interface NodeRecord {
  readonly nodeId: string;
  readonly pid: number;
  /** Kernel start time of the process, so that a reused pid is not taken for it. */
  readonly pidStart: string;
  readonly headAddress: string;
  readonly isHead: boolean;
  readonly embedded: boolean;
  /** Found by those who name no address, and ended by `tsray stop`: neither embedded nor a test's. */
  readonly standing: boolean;
  readonly unixPath: string;
  readonly storePath: string;
  /** Directory of the node's spilled objects. */
  readonly spillDir: string;
  readonly tokenGiven: boolean;
}

/** The directory of all sessions of this user. @throws ClusterUnreachableError when it is not safely ours */
export function sessionsRoot(): string {
  const uid = process.getuid?.() ?? 0;
  let base = process.env.XDG_RUNTIME_DIR ?? "";
  if (base === "" || base.length > BASE_CHARS_MAX || !existsSync(base)) base = tmpdir();
  if (base.length > BASE_CHARS_MAX) base = "/tmp";
  const root = join(base, `tsray-${uid}`);
  mkdirSync(root, { recursive: true, mode: 0o700 });
  const found = lstatSync(root);
  if (!found.isDirectory() || found.uid !== uid || (found.mode & 0o077) !== 0) {
    throw new ClusterUnreachableError(
      `${root} is not a private directory of this user: remove it, or set XDG_RUNTIME_DIR to one that is`,
    );
  }
  return root;
}

/** A new session's directory. */
export function createSession(): string {
  const dir = join(sessionsRoot(), `s-${randomId(4)}`);
  mkdirSync(join(dir, "logs"), { recursive: true, mode: 0o700 });
  mkdirSync(join(dir, "nodes"), { mode: 0o700 });
  return dir;
}

/** Removes a session whose daemons have ended, with the shared memory that killed ones left. */
export function removeSession(dir: string): void {
  for (const node of nodesOf(dir)) removeStoreFiles(node);
  rmSync(dir, { recursive: true, force: true });
}

export function tokenPath(sessionDir: string): string {
  return join(sessionDir, "token");
}

export function writeNodeRecord(sessionDir: string, record: NodeRecord): void {
  writeFileSync(join(sessionDir, "nodes", `${record.nodeId}.json`), JSON.stringify(record), { mode: 0o600 });
}

/** @returns undefined when the daemon has not written it, or has removed it */
export function readNodeRecord(sessionDir: string, nodeId: string): NodeRecord | undefined {
  try {
    return JSON.parse(readFileSync(join(sessionDir, "nodes", `${nodeId}.json`), "utf8")) as NodeRecord;
  } catch {
    return undefined;
  }
}

export function removeNodeRecord(sessionDir: string, nodeId: string): void {
  rmSync(join(sessionDir, "nodes", `${nodeId}.json`), { force: true });
}

export interface FoundNode extends NodeRecord {
  readonly sessionDir: string;
}

/** Daemons of this user that run on this machine, oldest session first. */
export function runningNodes(): FoundNode[] {
  const root = sessionsRoot();
  return readdirSync(root).flatMap((session) => nodesOf(join(root, session)).filter((node) => isAlive(node)));
}

function nodesOf(sessionDir: string): FoundNode[] {
  const dir = join(sessionDir, "nodes");
  if (!existsSync(dir)) return [];
  return readdirSync(dir).flatMap((file) => {
    try {
      return [{ ...(JSON.parse(readFileSync(join(dir, file), "utf8")) as NodeRecord), sessionDir }];
    } catch {
      return [];
    }
  });
}

function isAlive(node: Pick<NodeRecord, "pid" | "pidStart">): boolean {
  return processStart(node.pid) === node.pidStart;
}

/** Kernel start time of a process, or "" when it is gone (a zombie is gone). */
export function processStart(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" || fields[0] === "X" ? "" : (fields[19] ?? "");
  } catch {
    return "";
  }
}

/** Removes sessions, and their shared memory, whose daemons are all dead. Young directories are left alone. */
export function sweepDeadSessions(): void {
  const root = sessionsRoot();
  for (const session of readdirSync(root)) {
    const dir = join(root, session);
    const nodes = nodesOf(dir);
    if (nodes.length === 0 ? isYoung(dir) : nodes.some((node) => isAlive(node))) continue;
    removeSession(dir);
  }
}

/** Whether a daemon may yet write its record there. */
function isYoung(dir: string): boolean {
  try {
    return Date.now() - lstatSync(dir).mtimeMs < YOUNG_MS;
  } catch {
    return true;
  }
}

/** Removes what a node's store has in shared memory (everything that begins with its path) and on disk. */
export function removeStoreFiles({ storePath, spillDir }: Pick<NodeRecord, "storePath" | "spillDir">): void {
  if (basename(spillDir).startsWith(SPILL_PREFIX)) {
    for (const path of [spillDir, environmentsDirOf(spillDir)])
      rmSync(path, { recursive: true, force: true });
  }
  const at = storePath.lastIndexOf("/");
  const [dir, name] = [storePath.slice(0, at), storePath.slice(at + 1)];
  if (!name.startsWith("tsray-") || !existsSync(dir)) return;
  for (const file of readdirSync(dir)) {
    if (file.startsWith(name)) rmSync(join(dir, file), { recursive: true, force: true });
  }
}

/**
 * Where a new node's spilled objects go: below `wanted`, else the session's directory, else (that one is often in memory
 * itself) the temporary directory.
 */
export function spillDirOf(sessionDir: string, nodeId: string, wanted: string | undefined): string {
  const places = [sessionDir, tmpdir(), "/var/tmp"];
  const parent = wanted ?? places.find((path) => !isInMemory(path)) ?? sessionDir;
  return join(parent, `${SPILL_PREFIX}${nodeId}`);
}

/** Where that node keeps users' files and packages, beside its spilled objects. */
export function environmentsDirOf(spillDir: string): string {
  return join(dirname(spillDir), basename(spillDir).replace(SPILL_PREFIX, "tsray-env-"));
}

function isInMemory(path: string): boolean {
  try {
    return MEMORY_FILE_SYSTEMS.has(statfsSync(path).type);
  } catch {
    return true;
  }
}

/** Names this machine (as it is booted now): drivers attach to raylets with the same one. */
export function hostId(): string {
  try {
    return `${hostname()}-${readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim()}`;
  } catch {
    return hostname();
  }
}
