// Goal: remote() adds a remote form and changes nothing else; calls reach the runtime with the options resolved.
// Method: a runtime that records what it is asked for.
import { beforeEach, describe, expect, test } from "vitest";
import { InvalidOptionError, NotInitializedError } from "../base/errors.ts";
import { methodsOf, moduleUrl, type RegisteredFunction, recordOf } from "../base/function-registry.ts";
import { PlacementGroup, placement } from "./placement-groups.ts";
import { Actor, method, remote, remoteFormOf } from "./remote.ts";
import { currentRuntime, setRuntimeProvider } from "./runtime-port.ts";
import { nodeAffinity } from "./strategies.ts";

interface Call {
  readonly record: RegisteredFunction;
  readonly args: readonly unknown[];
  readonly options: Readonly<Record<string, unknown>>;
}
let calls: Call[] = [];
const last = () => calls.at(-1) as Call;
const note = (record: RegisteredFunction, args: readonly unknown[], options: object) =>
  calls.push({ record, args, options: { ...options } });

beforeEach(() => {
  calls = [];
  setRuntimeProvider(() => ({ submitTask: note, createActor: note, groups: {} as never }));
});

describe("functions", () => {
  test("stay what they are, and submit tasks", () => {
    const square = remote((x: number) => x * x, { name: "sq" });
    expect(square(4)).toBe(16);
    square.remote(5);
    expect(last()).toMatchObject({ args: [5], options: { name: "sq", maxRetries: 3 } });
    expect(last().record).toMatchObject({
      module: moduleUrl(import.meta.url),
      name: "anonymous",
      kind: "function",
    });
    expect(remoteFormOf(square)?.record).toBe(last().record);
    expect(remote(square)).toBe(square);
  });

  test("keep name, length and this", () => {
    function add(this: unknown, a: number, b: number) {
      return [this, a + b];
    }
    const form = remote(add);
    expect([form.name, form.length]).toEqual(["add", 2]);
    const receiver = {};
    expect(form.call(receiver, 1, 2)).toEqual([receiver, 3]);
  });

  test("are one function however often they are made remote", () => {
    const fn = () => 1;
    const first = remote(fn);
    expect(remote(fn)).toBe(first);
    const other = remote(fn, { numCpus: 2 });
    expect(remoteFormOf(other)?.record).toBe(remoteFormOf(first)?.record);
    other.remote();
    expect(last().options.resources).toEqual({ CPU: 20_000 });
    expect(() => remote(fn, { maxCalls: 1 })).toThrow(InvalidOptionError);
  });

  test("options make a copy", () => {
    const base = remote(() => 1, { maxRetries: 1 });
    base.options({ name: "x" }).options({ numCpus: 0.5 }).remote();
    expect(last().options).toMatchObject({ name: "x", maxRetries: 1, resources: { CPU: 5000 } });
    base.remote();
    expect(last().options).toMatchObject({ name: "", resources: { CPU: 10_000 } });
  });

  test("generator functions stream", () => {
    const items = remote(function* () {
      yield 1;
    });
    items.remote();
    expect(last().options.numReturns).toBe("streaming");
    expect(last().record.generator).toBe("sync");
    expect(() => items.options({ numReturns: 2 })).toThrow(InvalidOptionError);
  });

  test("wrong options and wrong subjects are refused at once", () => {
    expect(() => remote(() => 1, { numCpus: -1 })).toThrow(
      "numCpus must be a number >= 0 with at most 4 decimals, got -1",
    );
    expect(() => remote(5 as never)).toThrow("remote takes a function, a class or options, got number");
    expect(() => remote(null as never)).toThrow("got null");
  });
});

describe("classes", () => {
  class Counter {
    static readonly unit = "ticks";
    n: number;
    constructor(n = 0) {
      this.n = n;
    }
    increment() {
      return ++this.n;
    }
  }
  const Form = remote(Counter, { maxRestarts: 2 });

  test("create actors", () => {
    Form.remote(3);
    expect(last()).toMatchObject({
      args: [3],
      options: { maxRestarts: 2 },
      record: { kind: "class", fn: Counter },
    });
    Form.options({ name: "c" }).options({ lifetime: "detached" }).remote();
    expect(last()).toMatchObject({ args: [], options: { maxRestarts: 2, name: "c", detached: true } });
    expect(remote(Counter)).toBe(Form);
    expect(remote(Form)).toBe(Form);
  });

  test("are classes still", () => {
    const plain = new Form(4);
    expect(plain.constructor).toBe(Counter);
    expect(plain).toBeInstanceOf(Form);
    expect(new Counter()).toBeInstanceOf(Form);
    expect([plain.increment(), Form.unit, Form.name]).toEqual([5, "ticks", "Counter"]);
    class More extends Form {}
    expect(new More(1)).toBeInstanceOf(More);
    expect(() => (Form as unknown as () => void)()).toThrow(TypeError);
  });

  test("refuse options that do not fit together when an actor is created", () => {
    expect(() => Form.options({ getIfExists: true }).remote()).toThrow("getIfExists needs a name");
    class Grouped {
      @method({ concurrencyGroup: "io" })
      read() {}
    }
    expect(() => remote(Grouped).remote()).toThrow("got 'io'");
    remote(Grouped)
      .options({ concurrencyGroups: { io: 2 } })
      .remote();
    expect(calls).toHaveLength(1);
  });
});

describe("decorators", () => {
  test("TC39: mark, and change nothing", () => {
    // biome-ignore lint/complexity/noStaticOnlyClass: a namespace of jobs, as users write it
    class Jobs {
      static factor = 2;
      @remote({ numCpus: 2 })
      static scale(x: number): number {
        // biome-ignore lint/complexity/noThisInStatic: what `this` is, is tested
        return x * this.factor;
      }
      @remote
      static bare(): number {
        return 1;
      }
    }
    expect(Jobs.scale(2)).toBe(4);
    const form = remote(Jobs.scale);
    expect(form(3)).toBe(6);
    form.remote(3);
    expect(last()).toMatchObject({
      record: { kind: "method", name: "scale", receiver: Jobs, fn: Jobs.scale },
    });
    expect(last().options.resources).toEqual({ CPU: 20_000 });
    expect(recordOf(Jobs.bare)).toMatchObject({ name: "bare", module: moduleUrl(import.meta.url) });

    @remote({ maxRestarts: 1 })
    class Marked {
      @method({ maxTaskRetries: 3 })
      act() {}
    }
    @remote
    class Bare {}
    expect(new Marked()).toBeInstanceOf(Marked);
    remote(Marked).remote();
    expect(last()).toMatchObject({ options: { maxRestarts: 1 }, record: { fn: Marked, name: "Marked" } });
    expect(methodsOf(Marked).get("act")?.options.maxTaskRetries).toBe(3);
    expect(recordOf(Bare)).toMatchObject({ kind: "class", name: "Bare" });
  });

  test("experimentalDecorators: the same, in the calls that compilers make of it", () => {
    class Jobs {
      static area(r: number) {
        return r * r;
      }
      act() {}
    }
    const apply = (decorator: unknown, ...target: unknown[]) =>
      (decorator as (...t: unknown[]) => unknown)(...target);
    const area = Object.getOwnPropertyDescriptor(Jobs, "area");
    const act = Object.getOwnPropertyDescriptor(Jobs.prototype, "act");
    expect(apply(remote({ maxRetries: 1 }), Jobs, "area", area)).toBeUndefined();
    expect(recordOf(Jobs.area)).toMatchObject({ kind: "method", receiver: Jobs, options: { maxRetries: 1 } });
    expect(apply(method({ concurrencyGroup: "g" }), Jobs.prototype, "act", act)).toBeUndefined();
    expect(methodsOf(Jobs).get("act")?.options.concurrencyGroup).toBe("g");
    expect(() => apply(remote, Jobs.prototype, "act", act)).toThrow("act is neither");
    expect(() => apply(method({}), Jobs, "area", area)).toThrow("area is none");

    const __decorate = (decorator: unknown, target: unknown) =>
      (decorator as (target: unknown) => unknown)(target) ?? target;
    class Bare {}
    class Factory {}
    expect(__decorate(remote, Bare)).toBe(Bare);
    expect(__decorate(remote({ maxRestarts: 1 }), Factory)).toBe(Factory);
    expect([recordOf(Bare)?.name, recordOf(Factory)?.name]).toEqual(["Bare", "Factory"]);
  });

  test("are refused on what they are not for", () => {
    const wrong = (decorator: unknown, context: object) =>
      (decorator as (value: unknown, context: unknown) => void)(() => {}, {
        addInitializer() {},
        name: "it",
        ...context,
      });
    expect(() => wrong(remote({}), { kind: "method", static: false })).toThrow("it is neither");
    expect(() => wrong(remote, { kind: "getter", static: true })).toThrow("it is neither");
    expect(() => wrong(method({}), { kind: "method", static: true })).toThrow("it is none");
    expect(() => method({ numReturns: -1 })).toThrow("numReturns must be");
  });
});

test("Actor puts remote and options on the class", () => {
  class Store extends Actor {
    readonly size: number;
    constructor(a: number, b: number) {
      super();
      this.size = a + b;
    }
  }
  expect(new Store(1, 2).size).toBe(3);
  expect(new Store(1, 2)).toBeInstanceOf(Actor);
  Store.remote(1, 2);
  expect(last()).toMatchObject({
    args: [1, 2],
    record: { kind: "class", fn: Store, module: moduleUrl(import.meta.url) },
  });
  Store.options({ name: "s" }).remote(3, 4);
  expect(last()).toMatchObject({ args: [3, 4], options: { name: "s" } });

  @remote({ maxRestarts: 5 })
  class Marked extends Actor {}
  Marked.remote();
  expect(last().options.maxRestarts).toBe(5);
  remote(Marked).remote();
  expect(last().options.maxRestarts).toBe(5);
  expect(() => (Actor as unknown as { remote(): void }).remote()).toThrow("extend Actor");
});

test("strategies", () => {
  expect(nodeAffinity("n1")).toEqual({ kind: "NODE_AFFINITY", nodeId: "n1", soft: false });
  expect(() => nodeAffinity("")).toThrow(InvalidOptionError);
  expect(() => nodeAffinity("n", { soft: 1 as never })).toThrow("soft must be true or false");
  expect(() => placement({} as never)).toThrow("placement() takes a placement group");
  const facts = {
    id: "0123456789abcdef",
    name: "",
    strategy: "PACK" as const,
    bundles: [{ CPU: 1 }, { CPU: 2 }],
  };
  const group = new PlacementGroup(facts);
  expect(() => placement(group, { bundle: 2 })).toThrow("bundle must be from 0 to 1, or -1 for any");
  expect(() => placement(group, { bundles: 1 } as never)).toThrow("did you mean bundle?");
  expect(() => placement(group, { bundle: 0.5 })).toThrow("bundle must be a whole number >= 0, or -1");
  remote(() => 1, {
    schedulingStrategy: placement(group, { bundle: 1 }),
    labelSelector: { zone: "!in(a,b)" },
  }).remote();
  expect(last().options.strategy).toEqual({
    kind: "PLACEMENT_GROUP",
    nodeId: "",
    soft: false,
    labels: [{ key: "zone", negated: true, values: ["a", "b"] }],
    groupId: facts.id,
    bundle: 1,
  });
  const tooMuch = { numCpus: 2, schedulingStrategy: placement(group, { bundle: 0 }) };
  expect(() => remote(() => 1, tooMuch)).toThrow("{ CPU: 2 } can never fit bundle 0 of placement group 0123");
  expect(() => remote(() => 1, { numCpus: 3, schedulingStrategy: placement(group) })).toThrow(
    "can never fit any bundle",
  );
  const fn = remote(() => 1, { schedulingStrategy: nodeAffinity("n1", { soft: true }) });
  fn.remote();
  expect(last().options.strategy).toMatchObject({ kind: "NODE_AFFINITY", nodeId: "n1", soft: true });
});

test("without a provider there is no runtime", () => {
  setRuntimeProvider(undefined as never);
  expect(() => currentRuntime()).toThrow(NotInitializedError);
});
