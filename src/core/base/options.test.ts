// Goal: each option is taken as documented, and everything else is refused with a message that helps.
// Method: the resolvers are called with what users write.
import { describe, expect, test } from "vitest";
import { InvalidOptionError } from "./errors.ts";
import {
  checkActorCreation,
  resolveActorOptions,
  resolveCancelOptions,
  resolveGetOptions,
  resolveInitOptions,
  resolveKillOptions,
  resolveMethodOptions,
  resolveNodeOptions,
  resolveTaskOptions,
  resolveWaitOptions,
} from "./options.ts";

/** The first line of what `call` throws, which must be an InvalidOptionError. */
function refusal(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidOptionError);
    return (error as Error).message.split("\n")[0] as string;
  }
  throw new Error("nothing was thrown");
}

// What plain JavaScript may pass.
const task = (given: unknown) => resolveTaskOptions(given as never);
const actor = (given: unknown) => resolveActorOptions(given as never);
const init = (given: unknown, environment = {}) => resolveInitOptions(given as never, environment);

describe("task options", () => {
  test("defaults", () => {
    expect(resolveTaskOptions(undefined)).toEqual({
      given: {},
      resources: { CPU: 10_000 },
      strategy: { kind: "DEFAULT", nodeId: "", soft: false, labels: [], groupId: "", bundle: -1 },
      group: undefined,
      isPlain: true,
      schedulingKey: '[["CPU",10000],"DEFAULT","",false]',
      numReturns: 1,
      maxRetries: 3,
      retryExceptions: false,
      maxCalls: 0,
      name: "",
      timeout: undefined,
      signal: undefined,
      generatorBackpressure: undefined,
    });
  });

  test("amounts become units, and zero amounts vanish", () => {
    const options = task({
      numCpus: 0.3,
      numGpus: 0.25,
      memory: 2 ** 30,
      resources: { license: 2, none: 0 },
    });
    expect(options.resources).toEqual({ CPU: 3000, GPU: 2500, memory: 2 ** 30 * 10_000, license: 20_000 });
    expect(task({ numCpus: 0, numGpus: 2 }).resources).toEqual({ GPU: 20_000 });
    expect(task({ numCpus: 0.0003 }).resources).toEqual({ CPU: 3 });
  });

  test("equal demands share a scheduling key, others do not", () => {
    const key = (given: unknown) => task(given).schedulingKey;
    expect(key({ resources: { a: 1, b: 2 } })).toBe(
      key({ resources: { b: 2, a: 1 }, name: "x", maxRetries: 5 }),
    );
    expect(key({})).not.toBe(key({ maxRetries: 0 }));
    expect(key({})).not.toBe(key({ schedulingStrategy: "SPREAD" }));
    expect(key({})).not.toBe(key({ labelSelector: { zone: "a" } }));
    expect(key({ labelSelector: { zone: "!a" } })).not.toBe(key({ labelSelector: { zone: "a" } }));
    expect(key({ acceleratorType: "T4" })).toBe(
      key({ labelSelector: { "tsray.io/accelerator-type": "T4" } }),
    );
    expect(key({})).not.toBe(key({ numCpus: 2 }));
    const onNode = (soft: boolean) =>
      key({ schedulingStrategy: { kind: "NODE_AFFINITY", nodeId: "n", soft } });
    expect(onNode(true)).not.toBe(onNode(false));
  });

  test("options on top of options replace one by one and leave the base as it is", () => {
    const base = resolveTaskOptions({ numCpus: 2, resources: { a: 1 }, maxCalls: 4 });
    const copy = resolveTaskOptions({ resources: { b: 1 }, name: "n", maxRetries: undefined }, base);
    expect(copy.resources).toEqual({ CPU: 20_000, b: 10_000 });
    expect(copy).toMatchObject({ name: "n", maxCalls: 4, maxRetries: 3 });
    expect(base.resources).toEqual({ CPU: 20_000, a: 10_000 });
    expect(Object.isFrozen(copy)).toBe(true);
  });

  test("Infinity is no timeout", () => {
    expect(task({ timeout: Number.POSITIVE_INFINITY }).timeout).toBeUndefined();
    expect(task({ timeout: 0.5 }).timeout).toBe(0.5);
  });

  test("generator functions stream, and only what streams takes backpressure", () => {
    const streams = { streams: true };
    expect(resolveTaskOptions({ generatorBackpressure: 2 }, undefined, streams)).toMatchObject({
      numReturns: "streaming",
      generatorBackpressure: 2,
    });
    expect(task({ numReturns: "streaming", generatorBackpressure: 1 }).numReturns).toBe("streaming");
    expect(refusal(() => resolveTaskOptions({ numReturns: 2 }, undefined, streams))).toContain(
      'must be "streaming"',
    );
    expect(refusal(() => task({ generatorBackpressure: 1 }))).toContain(
      "generatorBackpressure needs a generator",
    );
  });

  test.each([
    [{ numCpus: -1 }, "numCpus must be a number >= 0 with at most 4 decimals, got -1"],
    [{ numCpus: 0.12345 }, "numCpus must be a number >= 0 with at most 4 decimals, got 0.12345"],
    [{ numCpus: Number.NaN }, "numCpus must be a number >= 0 with at most 4 decimals, got NaN"],
    [
      { numCpus: Number.POSITIVE_INFINITY },
      "numCpus must be a number >= 0 with at most 4 decimals, got Infinity",
    ],
    [{ numCpus: "2" }, "numCpus must be a number >= 0 with at most 4 decimals, got '2'"],
    [{ numCpus: null }, "numCpus must be a number >= 0 with at most 4 decimals, got null"],
    [
      { numGpus: 1.5 },
      "numGpus must be a number from 0 to 1 with at most 4 decimals, or a whole number, got 1.5",
    ],
    [{ memory: 0.5 }, "memory must be a whole number of bytes from 0 to 900719925474, got 0.5"],
    [
      { resources: [1] },
      "resources must be an object of resource names and numbers >= 0 with at most 4 decimals, got [ 1 ]",
    ],
    [{ resources: { a: -1 } }, "resources.a must be a number >= 0 with at most 4 decimals, got -1"],
    [{ resources: { CPU: 1 } }, "resources must not name CPU: use the option numCpus instead"],
    [{ resources: { GPU: 1 } }, "resources must not name GPU: use the option numGpus instead"],
    [{ resources: { memory: 1 } }, "resources must not name memory: use the option memory instead"],
    [{ resources: { "": 1 } }, "resources must not have the name ''"],
    [{ numReturns: -1 }, 'numReturns must be a whole number from 0 to 100000, or "streaming", got -1'],
    [{ numReturns: 1.5 }, 'numReturns must be a whole number from 0 to 100000, or "streaming", got 1.5'],
    [{ maxRetries: -2 }, "maxRetries must be a whole number >= 0, or -1 (retry without end), got -2"],
    [
      { retryExceptions: "yes" },
      "retryExceptions must be true, false or an array of error classes, got 'yes'",
    ],
    [
      { retryExceptions: [Map] },
      "retryExceptions must be true, false or an array of error classes, got [ [Function: Map] ]",
    ],
    [{ maxCalls: 0.5 }, "maxCalls must be a whole number >= 0, got 0.5"],
    [{ name: "" }, "name must be a non-empty string, got ''"],
    [{ timeout: 0 }, "timeout must be a number of milliseconds > 0 and <= 2147483647, got 0"],
    [{ signal: {} }, "signal must be an AbortSignal, got {}"],
    [
      { schedulingStrategy: "PACK" },
      'schedulingStrategy must be "DEFAULT", "SPREAD", nodeAffinity(nodeId, { soft }) or placement(group, { bundle }), got \'PACK\'',
    ],
    [{ acceleratorType: "" }, /^acceleratorType must be the kind of a GPU: .*, got ''$/],
    [{ labelSelector: "a" }, /^labelSelector must be an object of label names and "a", .*, got 'a'$/],
    [{ labelSelector: { "zone!": "a" } }, /^labelSelector must have names of .*, got 'zone!'$/],
    [{ labelSelector: { zone: 1 } }, /^labelSelector.zone must be "a", "!a", "in\(a,b\)" or .*, got 1$/],
    [{ labelSelector: { zone: "in(a" } }, /^labelSelector.zone must be .*, got 'in\(a'$/],
    [{ labelSelector: { zone: "in()" } }, /^labelSelector.zone must be .*, got 'in\(\)'$/],
    [{ labelSelector: { zone: "!!a" } }, /^labelSelector.zone must be .*, got '!!a'$/],
    [{ labelSelector: { zone: "a b" } }, /^labelSelector.zone must be .*, got 'a b'$/],
    [
      { resources: { CPU_group_0_0123456789abcdef: 1 } },
      "resources must not name CPU_group_0_0123456789abcdef: what a placement group has is asked for with placement(group)",
    ],
    [
      { runtimeEnv: 1 },
      "runtimeEnv must be an object of envVars, workingDir, excludes, bundle, npm, execArgv and workerSetup, got 1",
    ],
    [
      { runtimeEnv: { envs: {} } },
      "there is no runtimeEnv.envs: it takes envVars, workingDir, excludes, bundle, npm, execArgv, workerSetup",
    ],
    [{ runtimeEnv: { envVars: { "A=": "1" } } }, "runtimeEnv.envVars must not have the name 'A='"],
    [{ runtimeEnv: { envVars: { A: 1 } } }, "runtimeEnv.envVars.A must be a string, got 1"],
    [{ runtimeEnv: { workingDir: "" } }, "runtimeEnv.workingDir must be the path of a directory, got ''"],
    [
      { runtimeEnv: { excludes: "*.log" } },
      "runtimeEnv.excludes must be an array of patterns as in a .gitignore file, got '*.log'",
    ],
    [{ runtimeEnv: { npm: { package: [] } } }, "there is no runtimeEnv.npm.package: it takes packages, args"],
    [
      { runtimeEnv: { npm: { packages: ["-g"] } } },
      "runtimeEnv.npm.packages must not hold arguments of npm: give them as npm.args",
    ],
    [
      { runtimeEnv: { npm: true, bundle: true } },
      "runtimeEnv.npm and runtimeEnv.bundle exclude each other: a bundle holds the packages that it needs",
    ],
    [
      { runtimeEnv: { execArgv: ["--inspect=0"] } },
      "runtimeEnv.execArgv must not hold --inspect=0: a worker cannot run with it",
    ],
    [
      { runtimeEnv: { workerSetup: {} } },
      "runtimeEnv.workerSetup must be a function, or the path, URL or package name of a module, got {}",
    ],
    [5, "task options must be an object, got 5"],
    [null, "task options must be an object, got null"],
  ])("refuses %o", (given, message) => {
    if (typeof message === "string") expect(refusal(() => task(given))).toBe(message);
    else expect(refusal(() => task(given))).toMatch(message);
  });

  test.each([
    ["num_cpus", "numCpus"],
    ["numCpu", "numCpus"],
    ["max_retries", "maxRetries"],
    ["retries", "maxRetries"],
    ["shedulingStrategy", "schedulingStrategy"],
  ])("an unknown option %s is answered with %s", (unknown, meant) => {
    expect(refusal(() => task({ [unknown]: 1 }))).toMatch(
      `there is no task option '${unknown}'; did you mean ${meant}? It takes `,
    );
  });

  test("an option of another kind is named as such", () => {
    expect(refusal(() => task({ lifetime: "detached" }))).toContain("(that is an option of: actor)");
    expect(refusal(() => actor({ maxRetries: 1 }))).toContain("(that is an option of: task)");
  });

  test("inherited names are no options", () => {
    expect(refusal(() => task({ toString: 1 }))).toContain("there is no task option 'toString'");
    expect(refusal(() => task(JSON.parse('{"__proto__": 1}')))).toContain(
      "there is no task option '__proto__'",
    );
  });

  test("maxCalls belongs to the definition", () => {
    const base = resolveTaskOptions({ maxCalls: 1 });
    expect(base.maxCalls).toBe(1);
    expect(refusal(() => resolveTaskOptions({ maxCalls: 2 }, base))).toContain(
      "maxCalls can only be given where",
    );
  });

  test("signals are taken, of other realms too", () => {
    const { signal } = new AbortController();
    expect(task({ signal }).signal).toBe(signal);
    const foreign = { aborted: false, addEventListener() {} };
    expect(task({ signal: foreign }).signal).toBe(foreign);
  });
});

describe("actor options", () => {
  test("an actor that asks for nothing is placed by one CPU and holds none", () => {
    expect(actor({})).toMatchObject({
      resources: {},
      placement: { CPU: 10_000 },
      maxRestarts: 0,
      maxTaskRetries: 0,
    });
    expect(actor({})).toMatchObject({ maxConcurrency: 1, maxPendingCalls: -1, detached: false, name: "" });
    expect(actor({ numCpus: 0 })).toMatchObject({ resources: {}, placement: {} });
    expect(actor({ numGpus: 1 })).toMatchObject({ resources: { GPU: 10_000 }, placement: { GPU: 10_000 } });
    expect(actor({ numCpus: 2 })).toMatchObject({ resources: { CPU: 20_000 }, placement: { CPU: 20_000 } });
  });

  test.each([
    [{ lifetime: "forever" }, "lifetime must be \"detached\", got 'forever'"],
    [{ maxRestarts: -2 }, "maxRestarts must be a whole number >= 0, or -1 (restart without end), got -2"],
    [{ maxConcurrency: 0 }, "maxConcurrency must be a whole number >= 1, got 0"],
    [{ concurrencyGroups: { io: 0 } }, "concurrencyGroups.io must be a whole number >= 1, got 0"],
    [{ maxPendingCalls: 0 }, "maxPendingCalls must be a whole number >= 1, or -1 (no limit), got 0"],
    [{ getIfExists: 1 }, "getIfExists must be true or false, got 1"],
  ])("refuses %o", (given, message) => {
    expect(refusal(() => actor(given))).toBe(message);
  });

  test("what only fits together at creation is checked then", () => {
    expect(refusal(() => checkActorCreation(actor({ getIfExists: true }), []))).toContain(
      "getIfExists needs a name",
    );
    checkActorCreation(actor({ getIfExists: true, name: "a" }), []);
    const grouped = actor({ concurrencyGroups: { io: 2 } });
    checkActorCreation(grouped, ["io"]);
    expect(refusal(() => checkActorCreation(grouped, ["disk"]))).toContain(
      "concurrencyGroups (io), got 'disk'",
    );
  });
});

test("method options: definition and calls", () => {
  const defined = resolveMethodOptions({ concurrencyGroup: "io", maxTaskRetries: 2 });
  expect(defined).toMatchObject({ concurrencyGroup: "io", maxTaskRetries: 2, numReturns: 1 });
  expect(resolveMethodOptions({ numReturns: 2, timeout: 5 }, defined)).toMatchObject({
    concurrencyGroup: "io",
    numReturns: 2,
    timeout: 5,
  });
  expect(refusal(() => resolveMethodOptions({ timeout: 5 }))).toContain("timeout belongs to a call");
});

describe("init and node options", () => {
  test("defaults and the address from the environment", () => {
    expect(init(undefined)).toMatchObject({
      address: undefined,
      logToDriver: true,
      ignoreReinit: false,
      labels: {},
    });
    expect(init({}, { TSRAY_ADDRESS: "10.0.0.1:6380" }).address).toBe("10.0.0.1:6380");
    expect(init({ address: "auto" }, { TSRAY_ADDRESS: "10.0.0.1:6380" }).address).toBe("auto");
    expect(init({ address: "local", numCpus: 1 }, { TSRAY_ADDRESS: "10.0.0.1:6380" })).toMatchObject({
      address: undefined,
      numCpus: 1,
    });
    expect(init({ address: "[::1]:6380" }).address).toBe("[::1]:6380");
    expect(init({ dashboard: false, labels: { zone: "a" }, timeout: 5 })).toMatchObject({
      labels: { zone: "a" },
      timeout: 5,
    });
  });

  test.each([
    [{ address: "nowhere" }, 'address must be "host:port", "auto" or "local", got \'nowhere\''],
    [{ address: "a:70000" }, 'address must be "host:port", "auto" or "local", got \'a:70000\''],
    [{ dashboard: true }, "dashboard: true is not supported in this version"],
    [{ numCpus: 1.5 }, "numCpus must be a whole number >= 0, got 1.5"],
    [{ labels: { "a zone": "1" } }, /^labels must have names of 1 to 63 letters, .*, got 'a zone'$/],
    [{ labels: { zone: "in(a)" } }, /^labels.zone must be at most 63 letters, .*, got 'in\(a\)'$/],
    [
      { labels: { "tsray.io/node": "a" } },
      "labels must not name tsray.io/node: names with tsray.io/ are tsray's own",
    ],
    [{ labels: { zone: 1 } }, "labels must be an object of non-empty names and strings, got { zone: 1 }"],
    [{ resources: { "node:x": 1 } }, "resources must not name node:x: every node has its own"],
    [
      { objectStoreMemory: 5 },
      "objectStoreMemory must be a whole number of bytes from 1048576 to 900719925474, got 5",
    ],
  ])("refuses %o", (given, message) => {
    if (typeof message === "string") expect(refusal(() => init(given))).toBe(message);
    else expect(refusal(() => init(given))).toMatch(message);
  });

  test("what a node offers cannot be told to a cluster that runs", () => {
    expect(refusal(() => init({ address: "auto", numCpus: 1 }))).toContain(
      "numCpus is for the cluster that init starts",
    );
    expect(refusal(() => init({ numCpus: 1 }, { TSRAY_ADDRESS: "a:1" }))).toContain('address: "local"');
    expect(refusal(() => init({}, { TSRAY_ADDRESS: "x" }))).toContain("TSRAY_ADDRESS must be");
  });

  test("nodes", () => {
    expect(resolveNodeOptions({ numCpus: 2, resources: { special: 1 } })).toEqual({
      numCpus: 2,
      numGpus: undefined,
      resources: { special: 1 },
      labels: {},
      objectStoreMemory: undefined,
    });
    expect(refusal(() => resolveNodeOptions({ numCPUs: 2 } as never))).toContain("did you mean numCpus?");
  });
});

test("options of get, wait, cancel and kill", () => {
  expect(resolveGetOptions(undefined)).toEqual({ timeout: undefined, signal: undefined });
  expect(resolveGetOptions({ timeout: 0 }).timeout).toBe(0);
  expect(refusal(() => resolveGetOptions({ timeout: -1 }))).toContain(
    "timeout must be a number of milliseconds from 0",
  );
  expect(resolveWaitOptions(undefined, 3).numReturns).toBe(1);
  expect(resolveWaitOptions(undefined, 0).numReturns).toBe(0);
  expect(refusal(() => resolveWaitOptions({ numReturns: 4 }, 3))).toContain(
    "at most the number of refs given (3), got 4",
  );
  expect(resolveCancelOptions(undefined)).toEqual({ force: false, recursive: true });
  expect(resolveKillOptions({})).toEqual({ noRestart: true });
  expect(refusal(() => resolveKillOptions({ no_restart: true } as never))).toContain(
    "did you mean noRestart?",
  );
});
