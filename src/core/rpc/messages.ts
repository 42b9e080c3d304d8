/**
 * Kinds of messages on the data plane, with their fields. The first element of every message is one of these numbers;
 * 0 to 8 belong to the handshake (channel.ts). Payloads of values are {@link Payload}s.
 */

import type { CallGroup } from "../base/options.ts";

/** Client (driver or worker) <-> the raylet of its own node. */
export const Local = {
  /** worker -> raylet: [kind, startToken]. Answer: Welcome. */
  registerWorker: 10,
  /** driver -> raylet: [kind, JobConfig]. Answer: Welcome, or Refused. */
  registerDriver: 11,
  /** raylet -> client: [kind, Welcome]. */
  welcome: 12,
  /** raylet -> client: [kind, ErrorRecord]. */
  refused: 13,
  /** worker -> raylet: [kind]. The job's entry module has been evaluated up to init(); tasks may come. */
  ready: 14,
  /** worker -> raylet: [kind, blocked, processId]. Whether all tasks it has started wait in get/wait; else whose task goes on. */
  blocked: 15,
  /** client -> raylet: [kind, requestId, key, EndpointTuple[]]. Bring the object into this node's store. */
  pull: 16,
  /** raylet -> client: [kind, requestId, error text or null]. */
  pulled: 17,
  /** client -> raylet: [kind, key, EndpointTuple[]]. The object is freed: drop its copies on those nodes. */
  dropCopies: 18,
  /** raylet -> worker: [kind, ActorStart]. Become this actor. */
  startActor: 19,
  /** worker -> raylet: [kind, actorId, incarnation, state, reason, error bytes or null]. */
  actorState: 20,
  /** raylet -> worker: [kind, graceful, reason]. */
  stopActor: 21,
  /** raylet -> client: [kind, requestId]. Answer: tasks. */
  listTasks: 22,
  /** client -> raylet: [kind, requestId, rows]. */
  tasks: 23,
  /** raylet -> driver: [kind, JobNotice]. Worker output, dead nodes, warnings. */
  notice: 24,
  /** raylet -> worker: [kind, force]. Leave if nobody needs you (or at once). Answer when it stays: staying. */
  exit: 25,
  /** worker -> raylet: [kind]. It owns objects that others use, or has made calls that are not done. */
  staying: 26,
  /** raylet -> every client: [kind, nodeId, reason]. */
  nodeDied: 27,
  /** worker -> raylet: [kind, title]. What it is running, for listings; sent when it changes, at most a few a second. */
  running: 28,
  /** driver -> raylet: [kind]. It is about to leave: answer `farewell` once the output so far has been sent. */
  goodbye: 29,
  /** raylet -> driver: [kind]. */
  farewell: 9,
  /** raylet -> driver: [kind]. A node cannot see the job's files: offer them to the head. */
  filesWanted: 63,
  /** worker -> raylet: [kind, error text]. The set-up of its environment failed: it is no use to anybody. */
  setupFailed: 64,
  /** raylet -> every client: [kind]. The store is nearly full: let go of what is no longer needed. */
  collectGarbage: 60,
  /** raylet -> worker: [kind]. The actor is to begin again on another node: finish what runs, give back what has not begun. */
  moveActor: 70,
  /** client -> raylet: [kind, key, EndpointTuple[]]. The first of these nodes is to keep its copy, or to get one from the others. */
  keepCopy: 73,
  /** client -> raylet: [kind, EndpointTuple]. It has to do with that process of another node. */
  knowsProcess: 71,
  /** raylet -> client: [kind, requestId, rows at most]. Answer: objects. */
  listObjects: 61,
  /** client -> raylet: [kind, requestId, ObjectListing]. */
  objects: 62,
} as const;

/**
 * Raylet <-> raylet: objects travel in chunks. All but `drop` and `keep` go over connections of their own, dialled by the raylet that
 * pulls; it chooses the upload's id.
 */
export const Transfer = {
  /** puller -> source: [kind, uploadId, key, insists]. Answer: offer or absent. `insists`: do not send me elsewhere. */
  open: 30,
  /** source -> puller: [kind, uploadId, size, EndpointTuple[]]. The object is here, and on those nodes. */
  offer: 31,
  /** puller -> source: [kind, uploadId, offset, length]. Answer: chunk, in time; or the upload ends with moved or absent. */
  read: 32,
  /** source -> puller: [kind, uploadId, offset], and the bytes as a blob. */
  chunk: 33,
  /** raylet -> raylet: [kind, key]. The object was freed. */
  drop: 34,
  /** raylet -> raylet: [kind, key, EndpointTuple[]]. Keep the object until it is freed; those nodes may have it too. */
  keep: 39,
  /** source -> puller: [kind, uploadId]. It is not here, or not any more. */
  absent: 35,
  /** source -> puller: [kind, uploadId]. You are in line; said again every few seconds. */
  queued: 36,
  /** source -> puller: [kind, uploadId, EndpointTuple]. Ask that node: it has got the object by now. */
  moved: 37,
  /** puller -> source: [kind, uploadId, complete]. Nothing more is wanted; `complete`: the whole object is here now. */
  done: 38,
} as const;

/** Owner, worker, actor and borrower among themselves. */
export const Peer = {
  /** owner -> worker: [kind, fnIndex, FunctionId, code]. Names a function once per channel; `code` only of one that nobody finds by its name. */
  define: 40,
  /** owner -> worker: [kind, taskSeq, fnIndex, seq of the first ref or item, args, numReturns or -1 = streaming, RunExtra]; the last two may be absent. */
  run: 41,
  /** owner -> worker: [kind, taskSeq, recursive]. */
  cancel: 42,
  /** owner -> worker: [kind]. Give back what you have not started. Answer: giveBack. */
  steal: 43,
  /** worker -> owner: [kind, taskSeq, micros, Payload[] or one Payload, flag]. */
  done: 44,
  /** worker -> owner: [kind, taskSeq[]]. */
  giveBack: 45,
  /** caller -> actor: [kind, taskSeq, method, seq of the first ref or item, args, numReturns or -1 = streaming, CallExtra]; the last two may be absent. */
  call: 46,
  /** worker -> owner: [kind, taskSeq, index, Payload]. One item of a streaming generator. */
  item: 47,
  /** owner -> worker: [kind, taskSeq, consumed]. How many items the consumer has taken. */
  consumed: 48,
  /** caller -> actor: [kind, actorId, incarnation]. First message to an actor on a channel. */
  attach: 49,

  /** anyone -> owner: [kind, requestId, seq, copyLost]. Answer: value, once it is there. */
  getValue: 50,
  /** owner -> anyone: [kind, requestId, Payload]. */
  value: 51,
  /** borrower -> owner: [kind, requestId, seq[]]. Answer: borrowed. */
  borrow: 52,
  /** owner -> borrower: [kind, requestId]. */
  borrowed: 53,
  /** borrower -> owner: [kind, seq[]]. */
  unborrow: 54,
  /** owner -> worker: [kind, seq]. The refs inside that object are held here now, or it is not wanted: let go of them. */
  resultTaken: 55,
  /** anyone -> owner: [kind, seq, EndpointTuple, lasts?]. That node (its raylet's endpoint) has pulled a copy; `lasts`: to keep. */
  copyAt: 56,
  /** caller -> worker or actor: [kind, definition]. Code of a function among the arguments of calls to come, once per channel. */
  code: 58,
  /** detached actor -> worker: [kind]. What it owns must not depend on what the job's driver owns: it goes on without it. */
  outlivesDriver: 72,
  /** anyone -> owner: [kind, seq, force, recursive]. Cancel the task behind this object. */
  cancelObject: 57,
} as const;

/** What a value looks like on the wire. */
export const PayloadKind = {
  /** [0, value]: null, undefined, boolean, number or short string, as msgpack has them. */
  plain: 0,
  /** [1, bytes, RefList | null]: flat form of the value codec; the refs inside it. */
  bytes: 1,
  /** [2, size, EndpointTuple[], RefList | null, Slice[]?]: sealed in the stores of those nodes (raylets' endpoints). */
  stored: 2,
  /** [3, bytes]: flat form of an error. */
  error: 3,
} as const;

export type Payload =
  | readonly [kind: 0, value: unknown]
  | readonly [kind: 1, bytes: Uint8Array, refs: RefList | null]
  | readonly [
      kind: 2,
      size: number,
      nodes: (readonly unknown[])[],
      refs: RefList | null,
      slices?: readonly Slice[],
    ]
  | readonly [kind: 3, bytes: Uint8Array];

/** A ref on the wire: its owner's endpoint and its number there. */
export type RefTuple = readonly [owner: readonly unknown[], seq: number];

/**
 * An out-of-band buffer of a stored value that lies in another object: which buffer, the object's place in the value's
 * {@link RefList}, and what of it.
 */
export type Slice = readonly [buffer: number, place: number, offset: number, byteLength: number];

/**
 * The refs inside a value: their owners, and for each ref the place of its owner in that list and its number there. The
 * value itself names a ref by its place here.
 */
export type RefList = readonly [owners: readonly (readonly unknown[])[], places: readonly number[]];

/**
 * How arguments travel: all primitives as they are, or packed (under the caller's object number `packedSeq`, if they
 * are large) beside the refs to be resolved first.
 */
export type ArgsPayload =
  | readonly [kind: 0, values: readonly unknown[]]
  | readonly [kind: 1, packed: Payload, refs: readonly ArgRef[], packedSeq: number];

/** A top-level ref among the arguments: position, and its value where the caller knows it. */
export type ArgRef = readonly [position: number, ref: RefTuple, known: Payload | null];

/** What few tasks need beside their arguments. */
export interface RunExtra {
  readonly resources: Readonly<Record<string, number>>;
  readonly attempt: number;
  readonly maxCalls: number;
  readonly name: string;
  /** Items a generator may be ahead of its consumer; 0 = no limit. */
  readonly ahead: number;
  /** Items that the consumer has taken, of an earlier attempt. */
  readonly consumed: number;
  readonly gpuIds: readonly string[];
  /** The placement group that it runs in. */
  readonly group: CallGroup | null;
}

/** What few actor calls need beside their arguments. */
export interface CallExtra {
  readonly attempt: number;
  readonly name: string;
  readonly ahead: number;
  /** Items that the consumer has taken, of an earlier attempt. */
  readonly consumed: number;
  /** Concurrency group, where the call names another than the method's. */
  readonly group: string;
}

/** What an actor is made of; packed by its creator, read by its worker only. */
export interface ActorCreation {
  readonly descriptor: {
    readonly module: string;
    readonly name: string;
    readonly hash: string;
    readonly ordinal: number;
  };
  readonly owner: readonly unknown[];
  readonly args: ArgsPayload;
  /** What handles know of the class (ActorMeta): for a handle on itself. */
  readonly meta: unknown;
  /** Of a class that comes by value, as the first argument: concurrency groups of its methods. */
  readonly methodGroups: Readonly<Record<string, string>>;
  readonly maxConcurrency: number;
  readonly concurrencyGroups: Readonly<Record<string, number>>;
  /** The placement group that it runs in. */
  readonly group: CallGroup | null;
}

/** What a raylet tells a client that registered. */
export interface Welcome {
  readonly nodeId: string;
  readonly headAddress: string;
  readonly rayletAddress: string;
  readonly rayletEndpoint: readonly unknown[];
  readonly storePath: string;
  readonly storeKind: "arena" | "files";
  readonly tcpHost: string | null;
  readonly job: JobConfigRecord;
  readonly sessionDir: string;
}

/** JobConfig of proto/, as plain data. */
export interface JobConfigRecord {
  readonly jobId: string;
  readonly namespace: string;
  readonly entryUrl: string;
  readonly execArgv: readonly string[];
  readonly argv: readonly string[];
  readonly cwd: string;
  readonly logToDriver: boolean;
  readonly entryImportable: boolean;
  readonly driverProcessId: string;
  readonly driverPid: number;
  readonly environment: string;
  readonly deferred: boolean;
}

/** Raylet -> worker: the actor it becomes. */
export interface ActorStart {
  readonly actorId: string;
  readonly incarnation: number;
  readonly className: string;
  readonly name: string;
  readonly namespace: string;
  readonly creation: Uint8Array;
  readonly detached: boolean;
  readonly gpuIds: readonly string[];
  readonly resources: Readonly<Record<string, number>>;
}

/** Raylet -> driver. */
export interface JobNotice {
  readonly lines?: readonly (readonly [
    name: string,
    pid: number,
    isStderr: boolean,
    text: string,
    nodeId: string,
  ])[];
  readonly warning?: string;
}

/**
 * Why an object lives. "LOCAL_REFERENCE" is said where nothing else is known: a variable of the user's holds it, or it
 * waits for garbage collection.
 */
export type HoldKind =
  | "LOCAL_REFERENCE"
  | "PINNED_BY_TASK"
  | "CAPTURED_IN_OBJECT"
  | "LINEAGE"
  | "BORROWED"
  | "LENT"
  | "ACTOR_HANDLE";

/** One object as one process holds it. */
export interface ObjectRow {
  readonly objectId: string;
  /** Bytes in the store, or of its message; -1 where this process does not know them. */
  readonly sizeBytes: number;
  readonly kinds: readonly HoldKind[];
  /** How many other processes hold it (known at its owner). */
  readonly lentTo: number;
  readonly ownerProcessId: string;
  readonly ownerPid: number;
  readonly ownerNodeId: string;
  /** Nodes whose stores hold a copy, as far as this process knows. */
  readonly nodes: readonly string[];
  /** Where the user's code made it, or "" (see TSRAY_RECORD_CALL_SITES). */
  readonly callSite: string;
}

export interface ObjectListing {
  /** Largest first. */
  readonly rows: readonly ObjectRow[];
  /** All that the process holds, those without a row included. */
  readonly objectsTotal: number;
  readonly bytesTotal: number;
}
