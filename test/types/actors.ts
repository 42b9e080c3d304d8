// Goal: types of remote classes, handles and methods, end to end. Method: compiled, never run; see types.test.ts.
import { Actor, remote } from "../../src/core/api/remote.ts";
import type {
  ActorFactory,
  ActorHandle,
  AnyActorHandle,
  GetActorFn,
  RemoteClass,
} from "../../src/core/api/types.ts";
import type { ObjectRef } from "../../src/core/ownership/object-ref.ts";
import type { ObjectRefGenerator } from "../../src/core/ownership/object-ref-generator.ts";
import { exactly } from "./equal.ts";

declare const getActor: GetActorFn;
declare const numberRef: ObjectRef<number>;

class Counter {
  static readonly unit: string = "ticks";
  readonly label = "counter";
  #n: number;
  private secret(): number {
    return this.#n;
  }
  protected shielded(): number {
    return this.secret();
  }
  constructor(start = 0) {
    this.#n = start;
  }
  get value(): number {
    return this.shielded();
  }
  increment(by = 1): number {
    this.#n += by;
    return this.#n;
  }
  async load(path: string): Promise<string[]> {
    return [path];
  }
  async *ticks(n: number) {
    for (let i = 0; i < n; i++) yield i;
  }
  pair(): [number, Date] {
    return [this.#n, new Date()];
  }
  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

const RemoteCounter = remote(Counter);
exactly<RemoteClass<typeof Counter>>()(RemoteCounter);
const c = RemoteCounter.remote(10);
exactly<ActorHandle<Counter>>()(c);
exactly<"increment" | "load" | "ticks" | "pair">()({} as keyof typeof c & string);
RemoteCounter.remote();
RemoteCounter.remote(numberRef);
// @ts-expect-error the constructor takes a number
RemoteCounter.remote("10");
exactly<ObjectRef<number>>()(c.increment.remote(5));
exactly<ObjectRef<number>>()(c.increment.remote(numberRef));
exactly<ObjectRef<number>>()(c.increment.remote());
exactly<ObjectRef<string[]>>()(c.load.remote("x"));
exactly<ObjectRefGenerator<number>>()(c.ticks.remote(3));
exactly<[ObjectRef<number>, ObjectRef<Date>]>()(c.pair.options({ numReturns: 2 }).remote());
exactly<ObjectRef<number>>()(c.increment.options({ concurrencyGroup: "io", name: "inc" }).remote(1));
// @ts-expect-error a string is not a number
c.increment.remote("5");
// @ts-expect-error methods are called through .remote()
c.increment(5);
// @ts-expect-error fields are not there
c.label;
// @ts-expect-error nor accessors
c.value;
// @ts-expect-error nor private methods
c.secret;
// @ts-expect-error nor protected ones
c.shielded;
// @ts-expect-error an option of tasks
c.increment.options({ maxRetries: 2 });

// The remote form of a class is that class still.
exactly<Counter>()(new RemoteCounter(1));
exactly<string>()(RemoteCounter.unit);

// Options.
RemoteCounter.options({ name: "global", lifetime: "detached", getIfExists: true, maxRestarts: -1 }).remote(0);
exactly<ActorFactory<typeof Counter>>()(RemoteCounter.options({ concurrencyGroups: { io: 2, compute: 4 } }));
exactly<ActorHandle<Counter>>()(RemoteCounter.options({ numGpus: 0.5 }).options({ name: "a" }).remote(1));
// @ts-expect-error tasks have that
RemoteCounter.options({ name: "a", maxRetries: 1 });
// @ts-expect-error no such lifetime
RemoteCounter.options({ lifetime: "forever" });
RemoteCounter.options({
  runtimeEnv: { envVars: { A: "1" }, npm: { packages: ["x"] }, workerSetup: () => {} },
});

// The undecorated form of an expression.
const Acc = remote(
  class {
    #sum = 0;
    add(x: number): number {
      this.#sum += x;
      return this.#sum;
    }
  },
  { maxRestarts: 2 },
);
exactly<ObjectRef<number>>()(Acc.remote().add.remote(1));
exactly<number>()(new Acc().add(1));

// The base class.
class Store extends Actor {
  readonly #size: number;
  constructor(a: number, b: string) {
    super();
    this.#size = a + b.length;
  }
  size(): number {
    return this.#size;
  }
}
exactly<ActorHandle<Store>>()(Store.remote(1, "a"));
exactly<ActorHandle<Store>>()(Store.options({ name: "s" }).remote(numberRef, "a"));
exactly<ActorHandle<Store>>()(remote(Store).remote(1, "a"));
exactly<ObjectRef<number>>()(Store.remote(1, "a").size.remote());
exactly<Store>()(new Store(1, "a"));
// @ts-expect-error arguments are the constructor's
Store.remote("a", 1);
// @ts-expect-error abstract
Actor.remote();
// @ts-expect-error abstract
new Actor();

abstract class Shape extends Actor {
  abstract area(): number;
}
// @ts-expect-error abstract classes have no actors
Shape.remote();
// @ts-expect-error nor so
remote(Shape);
class Disc extends Shape {
  area(): number {
    return 1;
  }
}
exactly<ObjectRef<number>>()(Disc.remote().area.remote());

// A generic class falls back to its constraint.
class Box<T extends string> {
  readonly #content: T;
  constructor(content: T) {
    this.#content = content;
  }
  open(): T {
    return this.#content;
  }
}
exactly<ObjectRef<string>>()(remote(Box).remote("a").open.remote());

// Named actors, by instance type or by class.
exactly<Promise<ActorHandle<Counter>> & ActorHandle<Counter>>()(
  getActor<Counter>("global", { namespace: "team" }),
);
exactly<ActorHandle<Counter>>()(await getActor<Counter>("global"));
exactly<ObjectRef<number>>()(getActor<Counter>("global").increment.remote(1));
exactly<Promise<ActorHandle<Counter>> & ActorHandle<Counter>>()(getActor<typeof Counter>("global"));
const unknown = await getActor("global");
exactly<ActorHandle<unknown>>()(unknown);
// @ts-expect-error nothing is known of its methods
unknown.increment;

// Handles travel, as what they are.
const use = remote(async (counter: ActorHandle<Counter>) => counter.increment.remote(1));
exactly<ObjectRef<number>>()(use.remote(c));
// @ts-expect-error another class's handle
use.remote(Store.remote(1, "a"));
const any: AnyActorHandle = c;
void any;
