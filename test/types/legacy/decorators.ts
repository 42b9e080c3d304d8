// Goal: decorators in the form of experimentalDecorators, as ../decorators.ts. Must compile in both forms.
import { Actor, method, remote } from "../../../src/core/api/remote.ts";
import type { ActorHandle, RemoteFunction } from "../../../src/core/api/types.ts";
import type { ObjectRef } from "../../../src/core/ownership/object-ref.ts";
import { exactly } from "../equal.ts";

class Jobs {
  @remote({ numCpus: 1 })
  static area(r: number): number {
    return Math.PI * r * r;
  }
  @remote({ maxRetries: 1, retryExceptions: true })
  static async load(path: string): Promise<string> {
    return path;
  }
  @remote()
  static empty(): void {}
  @remote
  static *bare(n: number) {
    yield n;
  }

  // @ts-expect-error an option of actors
  @remote({ maxRestarts: 1 })
  static wrong(): void {}
  // @ts-expect-error not an instance method
  @remote()
  instance(): void {}
  // @ts-expect-error not an instance method
  @remote
  instanceBare(): void {}
  // @ts-expect-error not a static method
  @method({ concurrencyGroup: "io" })
  static method(): void {}
}
exactly<number>()(Jobs.area(2));
const area: RemoteFunction<[r: number], number> = remote(Jobs.area);
const inferred = remote(Jobs.area);
exactly<RemoteFunction<[r: number], number>>()(inferred);
exactly<ObjectRef<number>>()(area.remote(2));
exactly<ObjectRef<string>>()(remote(Jobs.load).remote("a"));

@remote({ numCpus: 1, maxRestarts: 2 })
class Counter {
  #n = 0;
  @method({ concurrencyGroup: "io", maxTaskRetries: 2, retryExceptions: [TypeError] })
  increment(by = 1): number {
    this.#n += by;
    return this.#n;
  }
  @method({ generatorBackpressure: 2 })
  async *ticks(n: number) {
    yield n;
  }
  // @ts-expect-error no such option
  @method({ group: "io" })
  wrong(): void {}
}
exactly<Counter>()(new Counter());
exactly<ActorHandle<Counter>>()(remote(Counter).remote());
exactly<ObjectRef<number>>()(remote(Counter).remote().increment.remote(1));

@remote
class Bare {
  readonly size: number;
  constructor(size: number) {
    this.size = size;
  }
}
exactly<ActorHandle<Bare>>()(remote(Bare).remote(1));

@remote()
class Empty extends Actor {}
exactly<ActorHandle<Empty>>()(Empty.remote());

// @ts-expect-error an option of tasks
@remote({ maxRetries: 1 })
class Wrong {}
void Wrong;
