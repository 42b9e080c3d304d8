// Goal: a function is found again by its descriptor, wherever the same modules are evaluated.
// Method: functions are registered here, under call sites given or captured, and looked up.
import { afterEach, describe, expect, test } from "vitest";
import {
  type AnyFunction,
  captureCallSite,
  describeFunction,
  findFunction,
  findLoose,
  generatorKindOf,
  isClass,
  isTransformedByRunner,
  makeExtensible,
  markMethod,
  methodsOf,
  moduleUrl,
  recordOf,
  registerActorSubclass,
  registerClass,
  registerFunction,
  registry,
} from "./function-registry.ts";
import { resolveActorOptions, resolveTaskOptions } from "./options.ts";

const here = moduleUrl(import.meta.url);
const options = resolveTaskOptions(undefined);
let modules = 0;
/** A module that no other test uses. */
const newModule = () => ({ module: `file:///app/module-${modules++}.js`, caller: "" });
const register = (fn: AnyFunction, site = newModule()) => registerFunction(fn, "function", site, options);

afterEach(() => {
  registry.lateModule = undefined;
});

describe("registration", () => {
  test("numbers equal names of a module, and names of other modules from 0 again", () => {
    const site = newModule();
    const make = () => register(() => 1, site);
    expect([make(), make()].map(({ name, ordinal }) => [name, ordinal])).toEqual([
      ["anonymous", 0],
      ["anonymous", 1],
    ]);
    expect(register(function named() {}, site)).toMatchObject({
      name: "named",
      ordinal: 0,
      kind: "function",
    });
    expect(register(() => 1).ordinal).toBe(0);
  });

  test("a function has one record", () => {
    const fn = () => 1;
    const record = register(fn);
    expect(register(fn)).toBe(record);
    expect(recordOf(fn)).toBe(record);
    expect(recordOf(() => 1)).toBeUndefined();
  });

  test("the hash is that of the source text", () => {
    const make = (k: number) => () => k;
    const [a, b] = [register(make(1)), register(make(2))];
    expect(a.hash).toMatch(/^[0-9a-f]{16}$/);
    expect(a.hash).toBe(b.hash);
    expect(register(() => "other").hash).not.toBe(a.hash);
  });

  test("what registers in the entry module after init is late, and not kept for others to find", () => {
    const site = newModule();
    expect(register(() => 1, site).late).toBe(false);
    registry.lateModule = `${site.module}?t=1`;
    const late = register(function late() {}, site);
    expect(late.late).toBe(true);
    expect(findLoose(late)).toBeUndefined();
    expect(register(() => 1).late).toBe(false);
  });
});

describe("finding", () => {
  test("by the exact descriptor", () => {
    const record = register(function add() {});
    const { module, name, ordinal, hash } = record;
    expect(findFunction({ module, name, ordinal, hash })).toBe(record);
    expect(findFunction({ module, name, ordinal: 1, hash: "0" })).toBeUndefined();
    expect(findFunction({ module: "file:///other.js", name, ordinal, hash })).toBeUndefined();
    expect(findFunction({ module, name, ordinal, hash: "changed" })).toBeUndefined();
  });

  test("by source text where the order differs, if that is unambiguous", () => {
    const site = newModule();
    register(() => "a", site);
    const second = register(() => "b", site);
    const { module, name, hash } = second;
    expect(findFunction({ module, name, ordinal: 0, hash })).toBe(second);
    expect(findFunction({ module, name, ordinal: 7, hash })).toBe(second);
    const twin = () => () => "twin";
    const [first] = [register(twin(), site), register(twin(), site)];
    expect(findFunction({ module, name, ordinal: 9, hash: first.hash })).toBeUndefined();
  });

  test("loosely, where a test runner transformed the caller's text", () => {
    const record = register(() => 1);
    expect(findFunction({ module: record.module, name: "anonymous", ordinal: 0, hash: "" })).toBe(record);
    expect(findLoose({ module: record.module, name: "anonymous", ordinal: 1 })).toBeUndefined();
    expect(describeFunction(record).hash).toBe("");
    expect(isTransformedByRunner({})).toBe(false);
    expect(isTransformedByRunner({ JEST_WORKER_ID: "1" })).toBe(true);
  });
});

describe("call sites", () => {
  function publicFunction() {
    return captureCallSite(publicFunction);
  }

  test("lead to the module that called", () => {
    const { prepareStackTrace, stackTraceLimit } = Error;
    expect(publicFunction().module).toBe(here);
    expect([1].map(() => publicFunction())[0]?.module).toBe(here);
    expect(Error.prepareStackTrace).toBe(prepareStackTrace);
    expect(Error.stackTraceLimit).toBe(stackTraceLimit);
  });

  test("work whatever the stack trace settings are", () => {
    const { prepareStackTrace, stackTraceLimit } = Error;
    try {
      Error.stackTraceLimit = 0;
      Error.prepareStackTrace = () => "custom";
      expect(publicFunction().module).toBe(here);
    } finally {
      Error.prepareStackTrace = prepareStackTrace;
      Error.stackTraceLimit = stackTraceLimit;
    }
  });

  test("name the helper that called, for decorators of the old form", () => {
    const __decorate = () => publicFunction();
    expect(__decorate().caller).toBe("__decorate");
  });

  test.each([
    ["/app/main.ts", "file:///app/main.ts"],
    ["/app/with space.ts", "file:///app/with%20space.ts"],
    ["/app/main.ts?namespace=1", "file:///app/main.ts"],
    ["/app/what?.ts", "file:///app/what%3F.ts"],
    ["file:///app/main.ts?t=17#x", "file:///app/main.ts"],
    ["file:///app/[eval1]", ""],
    ["[eval]-wrapper", ""],
    ["node:internal/modules/run_main", ""],
    ["evalmachine.<anonymous>", ""],
    ["data:text/javascript,1", "data:text/javascript,1"],
  ])("%s is the module %s", (file, url) => {
    expect(moduleUrl(file)).toBe(url);
  });
});

describe("kinds", () => {
  test("generators", () => {
    expect(generatorKindOf(function* () {})).toBe("sync");
    expect(generatorKindOf(async function* () {})).toBe("async");
    expect(generatorKindOf(async () => {})).toBe("none");
  });

  test("classes", () => {
    expect([class {}, Map, Error].map(isClass)).toEqual([true, true, true]);
    expect(
      [() => 1, function f() {}, async () => {}, function* g() {}, { a() {} }.a, {}].map(isClass),
    ).toEqual(new Array(6).fill(false));
  });
});

test("the methods of a class are its public ones and those it inherits", () => {
  class Base {
    shared() {}
    own() {}
  }
  class Derived extends Base {
    field = () => {};
    static helper() {}
    override own() {}
    #hidden() {}
    get accessor() {
      return this.#hidden;
    }
    *items() {}
    [Symbol.dispose]() {}
  }
  markMethod(Derived.prototype.own, { concurrencyGroup: "io" });
  const methods = methodsOf(Derived);
  expect([...methods.keys()].sort()).toEqual(["items", "own", "shared"]);
  expect(methods.get("items")).toMatchObject({ generator: "sync", options: { numReturns: "streaming" } });
  expect(methods.get("own")?.options.concurrencyGroup).toBe("io");
  expect(methods.get("shared")?.options.concurrencyGroup).toBe("");
  expect(methodsOf(Derived)).toBe(methods);
});

describe("subclasses of an extensible base", () => {
  abstract class Base {
    readonly made = true;
    static greet(): string {
      // biome-ignore lint/complexity/noThisInStatic: what this is, is tested
      return `I am ${this.name}`;
    }
  }
  const Extensible = makeExtensible(Base, ["greet"]);

  test("behave as subclasses do", () => {
    class Plain extends Extensible {
      readonly n: number;
      constructor(n: number) {
        super();
        this.n = n;
      }
    }
    const made = new Plain(3);
    expect(made).toMatchObject({ made: true, n: 3 });
    expect(made).toBeInstanceOf(Plain);
    expect(made).toBeInstanceOf(Extensible);
    expect(made).toBeInstanceOf(Base);
    expect({}).not.toBeInstanceOf(Extensible);
    expect(Plain.greet()).toBe("I am Plain");
    expect(Extensible.name).toBe("Base");
  });

  test("are found where nobody registered them", () => {
    // Classes of a test file are found by nobody else; this one stands for a file of the user's.
    const { VITEST } = process.env;
    delete process.env.VITEST;
    const keep = [class Lonely extends Extensible {}];
    process.env.VITEST = VITEST;
    const found = findLoose({ module: here, name: "Lonely", ordinal: 0 });
    expect(found).toMatchObject({ kind: "class", fn: keep[0] });
    expect(recordOf(keep[0] as object)).toBe(found);
    expect(found && findFunction({ ...found, hash: found.hash })).toBe(found);
  });

  test("are registered where they are written, at first use", () => {
    class Used extends Extensible {}
    class UsedToo extends Used {}
    expect(registerActorSubclass(Used)).toMatchObject({ module: here, name: "Used", ordinal: 0 });
    expect(registerActorSubclass(UsedToo)).toMatchObject({ module: here, name: "UsedToo" });
    class Stranger {}
    expect(() => registerActorSubclass(Stranger)).toThrow("extend Actor");
    const record = registerClass(
      class Given extends Extensible {},
      newModule(),
      resolveActorOptions(undefined),
    );
    expect(registerActorSubclass(record.fn)).toBe(record);
  });
});
