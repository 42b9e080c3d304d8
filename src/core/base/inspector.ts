/**
 * What V8 knows of a function and the language hides: the variables it closes over, where its text lies, what a bound
 * function is bound to. Asked of the in-process inspector, whose answers come before `post` returns (0.1 ms a function).
 *
 * The debugger is enabled only for the moment in which the text of a script is fetched, once per script; left on, it
 * would slow all code down.
 */
import { createRequire } from "node:module";

/** Any function or class. */
type Callable = ((...args: never[]) => unknown) | (abstract new (...args: never[]) => object);

/** The variables of one scope by name: a snapshot. Those that are not initialized yet are undefined. */
export type Scope = Readonly<Record<string, unknown>>;

/** Where a function's parameters (of a class: its constructor) begin; lines and columns count from 0. */
export interface Location {
  readonly scriptId: string;
  readonly line: number;
  readonly column: number;
}

export interface FunctionFacts {
  /** Innermost first, without the global one. */
  readonly scopes: readonly Scope[];
  readonly location: Location | undefined;
  /** Of a bound function. */
  readonly bound:
    | { readonly target: Callable; readonly self: unknown; readonly args: readonly unknown[] }
    | undefined;
}

/** A text that V8 has compiled. */
export interface Script {
  /** File URL, path or name; "" for `new Function` and the like. */
  readonly url: string;
  readonly source: string;
  /** An ES module, and so strict. */
  readonly isModule: boolean;
  /** Where its text begins in the file, from 0. */
  readonly startLine: number;
  readonly startColumn: number;
  /** What the text says of its source map; "" = nothing. */
  readonly sourceMapUrl: string;
}

interface Session {
  connect(): void;
  post(method: string, params: object, callback: (error: unknown, result: unknown) => void): void;
  on(event: string, listener: (message: { readonly params: ScriptParsed }) => void): void;
  off(event: string, listener: (message: { readonly params: ScriptParsed }) => void): void;
}

interface ScriptParsed {
  readonly scriptId: string;
  readonly url: string;
  readonly isModule?: boolean;
  readonly sourceMapURL?: string;
  readonly startLine: number;
  readonly startColumn: number;
}

interface RemoteValue {
  readonly objectId?: string;
  readonly value?: unknown;
  /** NaN, Infinity, -0 and bigints, as they are written. */
  readonly unserializableValue?: string;
}
interface InternalProperty {
  readonly name: string;
  readonly value?: RemoteValue;
}

const SLOT = Symbol.for("tsray.scopes");
const OBJECT_GROUP = "tsray.scopes";
const SLOT_EXPRESSION = `globalThis[Symbol.for(${JSON.stringify(SLOT.description)})]`;
const PARSED = "Debugger.scriptParsed";
/** Texts of scripts kept; they are asked for again when they are needed again. */
const SCRIPTS_MAX = 1000;

const NO_FACTS: FunctionFacts = { scopes: [], location: undefined, bound: undefined };

let session: Session | null | undefined;
const scripts = new Map<string, Script>();

/** Whether functions can be looked into here. */
export function hasInspector(): boolean {
  return openSession() !== null;
}

/** Nothing where there is no inspector, or the function belongs to another realm. */
export function inspectFunction(fn: Callable): FunctionFacts {
  const open = openSession();
  if (open === null) return NO_FACTS;
  const box: { fn: Callable; taken?: unknown } = { fn };
  Object.defineProperty(globalThis, SLOT, { value: box, configurable: true });
  const take = (objectId: string): unknown => {
    post(open, "Runtime.callFunctionOn", {
      objectId,
      functionDeclaration: `function () { ${SLOT_EXPRESSION}.taken = this; }`,
      objectGroup: OBJECT_GROUP,
      silent: true,
    });
    return box.taken;
  };
  try {
    const { result } = post<{ result: RemoteValue }>(open, "Runtime.evaluate", {
      expression: `${SLOT_EXPRESSION}.fn`,
      objectGroup: OBJECT_GROUP,
      silent: true,
    });
    const { internalProperties = [] } = post<{ internalProperties?: InternalProperty[] }>(
      open,
      "Runtime.getProperties",
      { objectId: result.objectId, ownProperties: true },
    );
    return factsOf(internalProperties, take);
  } catch {
    return NO_FACTS;
  } finally {
    Reflect.deleteProperty(globalThis, SLOT);
    letGoSoon(open);
  }
}

/** Functions looked into whose variables the inspector still holds. */
let held = 0;
/** So many at most: a turn may make many, and each holds what its function closes over. */
const HELD_MAX = 8;

/** What the inspector holds is let go of once per turn, not once per function: a message costs as much as a small capture. */
function letGoSoon(open: Session): void {
  const letGo = () => {
    if (held === 0) return;
    held = 0;
    open.post("Runtime.releaseObjectGroup", { objectGroup: OBJECT_GROUP }, () => {});
  };
  held += 1;
  if (held === 1) queueMicrotask(letGo);
  else if (held >= HELD_MAX) letGo();
}

function factsOf(
  properties: readonly InternalProperty[],
  take: (objectId: string) => unknown,
): FunctionFacts {
  const find = (name: string) => properties.find((property) => property.name === name)?.value;
  const read = (remote: RemoteValue | undefined) =>
    remote?.objectId === undefined ? primitive(remote) : take(remote.objectId);
  const target = read(find("[[TargetFunction]]"));
  if (typeof target === "function") {
    const args = read(find("[[BoundArgs]]"));
    const self = read(find("[[BoundThis]]"));
    const bound = {
      target: target as Callable,
      self,
      args: Array.isArray(args) ? ([...args] as unknown[]) : [],
    };
    return { ...NO_FACTS, bound };
  }
  const at = find("[[FunctionLocation]]")?.value as
    | { scriptId: string; lineNumber: number; columnNumber: number }
    | undefined;
  const location = at && { scriptId: at.scriptId, line: at.lineNumber, column: at.columnNumber };
  const list = find("[[Scopes]]")?.objectId;
  return { scopes: list === undefined ? [] : scopeObjects(take(list)), location, bound: undefined };
}

function primitive(remote: RemoteValue | undefined): unknown {
  const written = remote?.unserializableValue;
  if (written === undefined) return remote?.value;
  return written.endsWith("n") ? BigInt(written.slice(0, -1)) : Number(written);
}

function scopeObjects(list: unknown): Scope[] {
  const scopes: Scope[] = [];
  if (typeof list !== "object" || list === null) return scopes;
  for (const entry of Object.values(list) as { object?: unknown }[]) {
    const scope = entry?.object;
    if (typeof scope === "object" && scope !== null && scope !== globalThis) scopes.push(scope as Scope);
  }
  return scopes;
}

/** The script a function was compiled from; takes some 10 ms the first time it is asked for. */
export function scriptOf(scriptId: string): Script | undefined {
  const known = scripts.get(scriptId);
  if (known !== undefined) return known;
  const open = openSession();
  if (open === null) return undefined;
  let parsed: ScriptParsed | undefined;
  const onParsed = ({ params }: { readonly params: ScriptParsed }) => {
    if (params.scriptId === scriptId) parsed = params;
  };
  open.on(PARSED, onParsed);
  try {
    post(open, "Debugger.enable", {});
    const { scriptSource } = post<{ scriptSource: string }>(open, "Debugger.getScriptSource", { scriptId });
    const { url = "", isModule = false, startLine = 0, startColumn = 0, sourceMapURL = "" } = parsed ?? {};
    const script = {
      url,
      source: scriptSource,
      isModule,
      startLine,
      startColumn,
      sourceMapUrl: sourceMapURL,
    };
    if (scripts.size >= SCRIPTS_MAX) scripts.clear();
    scripts.set(scriptId, script);
    return script;
  } catch {
    return undefined;
  } finally {
    open.post("Debugger.disable", {}, () => {});
    open.off(PARSED, onParsed);
  }
}

/** One session per process, connected at first use; null where there is no inspector. */
function openSession(): Session | null {
  if (session !== undefined) return session;
  try {
    const { Session: Inspector } = createRequire(import.meta.url)("node:inspector") as {
      Session: new () => Session;
    };
    session = new Inspector();
    session.connect();
  } catch {
    session = null;
  }
  return session;
}

/** Sends one command; the in-process inspector answers before `post` returns. */
function post<T>(open: Session, method: string, params: object): T {
  let answer: unknown;
  let failure: unknown = new Error(`${method}: no answer`);
  open.post(method, params, (error, result) => {
    failure = error;
    answer = result;
  });
  if (failure) throw failure;
  return answer as T;
}
