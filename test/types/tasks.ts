// Goal: types of remote functions, end to end. Method: compiled, never run; see types.test.ts.

import {
  getCurrentPlacementGroup,
  type PlacementGroup,
  placement,
  placementGroup,
} from "../../src/core/api/placement-groups.ts";
import { remote } from "../../src/core/api/remote.ts";
import { nodeAffinity } from "../../src/core/api/strategies.ts";
import type {
  GetFn,
  PutFn,
  ReleaseFn,
  RemoteFunction,
  WaitFn,
  WaitResult,
} from "../../src/core/api/types.ts";
import type { TaskOptions } from "../../src/core/base/options.ts";
import type { ObjectRef } from "../../src/core/ownership/object-ref.ts";
import type { ObjectRefGenerator } from "../../src/core/ownership/object-ref-generator.ts";
import { exactly } from "./equal.ts";

declare const get: GetFn;
declare const put: PutFn;
declare const wait: WaitFn;
declare const release: ReleaseFn;
declare const numberRef: ObjectRef<number>;
declare const stringRef: ObjectRef<string>;

// A remote function is typed by its parameters and result, and still is that function.
const square = remote((x: number) => x * x);
exactly<RemoteFunction<[x: number], number>>()(square);
exactly<number>()(square(4));
const squared = square.remote(4);
exactly<ObjectRef<number>>()(squared);
square.remote(numberRef);
// @ts-expect-error a string is not a number
square.remote("4");
// @ts-expect-error nor is a ref to one
square.remote(stringRef);
// @ts-expect-error an argument is missing
square.remote();
// @ts-expect-error one too many
square.remote(1, 2);
// @ts-expect-error plain calls take values
square(numberRef);

// Async results are awaited, optional and rest parameters stay, names too.
const fit = remote(
  async (data: Float64Array, rate = 0.1, ...more: string[]) => data.length + rate + more.length,
  {
    numCpus: 2,
    maxRetries: 5,
  },
);
exactly<RemoteFunction<[data: Float64Array, rate?: number, ...more: string[]], Promise<number>>>()(fit);
exactly<ObjectRef<number>>()(fit.remote(new Float64Array(1)));
exactly<ObjectRef<number>>()(fit.remote(put(new Float64Array(1)), numberRef, "a", stringRef));
// @ts-expect-error rest parameters are checked
fit.remote(new Float64Array(1), 1, 2);

// A union parameter takes a ref to any part of it.
const either = remote((x: number | string) => x);
either.remote(numberRef);
either.remote(stringRef);
either.remote("a");

// A function without result, one that always throws, one that returns any: nothing turns into a generator.
exactly<ObjectRef<void>>()(remote(() => {}).remote());
exactly<ObjectRef<never>>()(
  remote((): never => {
    throw new Error();
  }).remote(),
);
const untyped = remote(JSON.parse).remote("1");
const stillRef: ObjectRef<unknown> = untyped;
void stillRef;

// Arrays, maps and sets are values, not generators.
exactly<ObjectRef<Map<string, number>>>()(remote(() => new Map<string, number>()).remote());
exactly<ObjectRef<number[]>>()(remote(() => [1]).remote());

// Generators stream.
const count = remote(function* (n: number) {
  for (let i = 0; i < n; i++) yield i;
});
exactly<ObjectRefGenerator<number>>()(count.remote(3));
const ticks = remote(
  async function* (n: number) {
    yield `${n}`;
  },
  { generatorBackpressure: 4 },
);
exactly<ObjectRefGenerator<string>>()(ticks.remote(numberRef));
exactly<ObjectRefGenerator<string>>()(ticks.options({ name: "t" }).remote(1));
const annotated = remote(async function* (): AsyncIterable<boolean> {
  yield true;
});
exactly<ObjectRefGenerator<boolean>>()(annotated.remote());
for await (const ref of ticks.remote(2)) exactly<ObjectRef<string>>()(ref);

// numReturns.
const pair = remote((): [number, string] => [1, "a"]);
const [left, right] = pair.options({ numReturns: 2 }).remote();
exactly<ObjectRef<number>>()(left);
exactly<ObjectRef<string>>()(right);
exactly<[ObjectRef<number>, ObjectRef<string>]>()(pair.options({ numReturns: 2 }).remote());
exactly<ObjectRef<[number, string]>>()(pair.options({ numReturns: 1 }).remote());
exactly<ObjectRef<[number, string]>>()(pair.remote());
exactly<void>()(pair.options({ numReturns: 0 }).remote());
exactly<[ObjectRef<number>, ObjectRef<string>, ObjectRef<never>]>()(pair.options({ numReturns: 3 }).remote());
const many = remote(async (n: number) => new Array<Date>(n), { numReturns: 3 });
exactly<[ObjectRef<Date>, ObjectRef<Date>, ObjectRef<Date>]>()(many.remote(3));
exactly<ObjectRef<Date[]>>()(many.options({ numReturns: 1 }).remote(3));
exactly<[ObjectRef<Date>, ObjectRef<Date>, ObjectRef<Date>]>()(many.options({ maxRetries: 0 }).remote(3));
exactly<ObjectRefGenerator<Date>>()(many.options({ numReturns: "streaming" }).remote(3));
exactly<never>()(count.options({ numReturns: 2 }).remote(3));
declare const some: number;
exactly<ObjectRef<Date[]> | ObjectRef<Date>[] | undefined>()(many.options({ numReturns: some }).remote(3));
// @ts-expect-error there is no such mode
many.options({ numReturns: "dynamic" });

// Generic functions fall back to their constraints.
const wrap = remote(<T extends string | number>(value: T): T[] => [value]);
exactly<ObjectRef<(string | number)[]>>()(wrap.remote("a"));

// Options.
square.options({
  numCpus: 0.5,
  name: "sq",
  schedulingStrategy: "SPREAD",
  retryExceptions: [TypeError, RangeError],
});
square.options({ schedulingStrategy: nodeAffinity("n1", { soft: true }), signal: undefined });
square
  .options({ timeout: 1000, signal: AbortSignal.timeout(5) })
  .options({ memory: 1 })
  .remote(1);
const prepared: TaskOptions = { numCpus: 1 };
square.options(prepared).remote(1);
// @ts-expect-error no such option
square.options({ numCpus: 1, num_gpus: 1 });
// @ts-expect-error an option of actors
square.options({ numCpus: 1, maxRestarts: 1 });
// @ts-expect-error a string is no number of CPUs
square.options({ numCpus: "1" });
square.options({ runtimeEnv: { workingDir: ".", excludes: ["*.log"], execArgv: ["--expose-gc"] } });
// @ts-expect-error variables are strings
square.options({ runtimeEnv: { envVars: { A: 1 } } });
square.options({ labelSelector: { zone: "!in(a,b)" }, acceleratorType: "T4" });
// @ts-expect-error a selector is a string
square.options({ labelSelector: { zone: 1 } });
// @ts-expect-error no such strategy
square.options({ schedulingStrategy: "PACK" });
// @ts-expect-error at the definition too
remote((x: number) => x, { numCpus: 1, maxRestart: 1 });
// @ts-expect-error not a function
remote(5);

// Placement groups.
const group = await placementGroup([{ CPU: 1 }, { CPU: 1, GPU: 1 }], {
  strategy: "SPREAD",
  lifetime: "detached",
});
exactly<PlacementGroup>()(group);
exactly<Promise<void>>()(group.ready({ timeout: 5 }));
exactly<PlacementGroup | undefined>()(getCurrentPlacementGroup());
square.options({ schedulingStrategy: placement(group, { bundle: 1, captureChildren: true }) });
// @ts-expect-error not a group
placement({});
// @ts-expect-error no such strategy
placementGroup([{ CPU: 1 }], { strategy: "LOOSE" });

// get, put, wait.
exactly<ObjectRef<number[]>>()(put([1, 2]));
exactly<number>()(await squared);
exactly<Promise<number>>()(get(squared, { timeout: 5000, signal: AbortSignal.timeout(1) }));
exactly<Promise<[number, string]>>()(get([numberRef, stringRef]));
exactly<Promise<number[]>>()(get([1, 2, 3].map((x) => square.remote(x))));
exactly<Promise<[]>>()(get([]));
exactly<Promise<WaitResult<ObjectRef<number>>>>()(wait([squared, numberRef], { numReturns: 1, timeout: 10 }));
exactly<Promise<WaitResult<ObjectRef<number> | ObjectRef<string>>>>()(wait([numberRef, stringRef]));
// @ts-expect-error not a ref
get(5);
// @ts-expect-error not refs
get([1, 2]);
// @ts-expect-error no such option
get(squared, { timeoutMs: 1 });

// A ref can be declared with `using`; release takes any value and says how much it gave back.
{
  using scoped = put(new Uint8Array(8));
  exactly<ObjectRef<Uint8Array<ArrayBuffer>>>()(scoped);
  exactly<number>()(release(await get(scoped)));
}
