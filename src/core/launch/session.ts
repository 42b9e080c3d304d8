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
  rmdirSync,
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

/** The directory of all sessions of this user. It is there as long as one is. */
function sessionsRoot(): string {
  let base = process.env.XDG_RUNTIME_DIR ?? "";
  if (base === "" || base.length > BASE_CHARS_MAX || !existsSync(base)) base = tmpdir();
  if (base.length > BASE_CHARS_MAX) base = "/tmp";
  return join(base, `tsray-${uid()}`);
}

/** Directories of the sessions of this user. @throws ClusterUnreachableError when others may write there */
function sessionDirs(): string[] {
  const root = sessionsRoot();
  try {
    checkIsOurs(root);
    return readdirSync(root).map((session) => join(root, session));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

function checkIsOurs(root: string): void {
  const found = lstatSync(root);
  if (!found.isDirectory() || found.uid !== uid() || (found.mode & 0o077) !== 0) {
    throw new ClusterUnreachableError(
      `${root} is not a private directory of this user: remove it, or set XDG_RUNTIME_DIR to one that is`,
    );
  }
}

function uid(): number {
  return process.getuid?.() ?? 0;
}

/** A new session's directory. @throws ClusterUnreachableError when others may write there */
export function createSession(): string {
  const root = sessionsRoot();
  const dir = join(root, `s-${randomId(4)}`);
  for (;;) {
    try {
      mkdirSync(root, { recursive: true, mode: 0o700 });
      checkIsOurs(root);
      mkdirSync(dir, { mode: 0o700 });
      break;
    } catch (error) {
      // The last session of another process took the root with it.
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
  for (const name of ["logs", "nodes"]) mkdirSync(join(dir, name), { mode: 0o700 });
  // It cannot be taken away any more: this is where the session is.
  checkIsOurs(root);
  return dir;
}

/** Removes a session whose daemons have ended, with the shared memory that killed ones left. */
export function removeSession(dir: string): void {
  for (const node of nodesOf(dir)) removeStoreFiles(node);
  rmSync(dir, { recursive: true, force: true });
  try {
    rmdirSync(dirname(dir));
  } catch {
    // There are others.
  }
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
  return sessionDirs().flatMap((dir) => nodesOf(dir).filter((node) => isAlive(node)));
}

function nodesOf(sessionDir: string): FoundNode[] {
  const dir = join(sessionDir, "nodes");
  return filesIn(dir).flatMap((file) => {
    try {
      return [{ ...(JSON.parse(readFileSync(join(dir, file), "utf8")) as NodeRecord), sessionDir }];
    } catch {
      return [];
    }
  });
}

/** None where the directory is not there: its session may end at any time. */
function filesIn(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
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
  for (const dir of sessionDirs()) {
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
