// Goal: what api.md and Ray promise when an actor, its owner or its node fails. Method: real processes are killed with
// SIGKILL, at moments that gates define; nothing is timed.
import {
  ActorDiedError,
  ActorUnavailableError,
  availableResources,
  cancel,
  get,
  getActor,
  init,
  kill,
  ready,
  shutdown,
  TaskError,
} from "tsray";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Counter, Flaky, Gate, MadeOnce, ownActor, Parent, RemoteOverlap } from "../fixtures/actors.mjs";
import { isRunning, until } from "../fixtures/processes.ts";

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);
const failure = (promise: PromiseLike<unknown>): Promise<unknown> =>
  Promise.resolve(promise).then(
    (value) => {
      throw new Error(`it gave ${String(value)}`);
    },
    (error: unknown) => error,
  );

describe("actor failure", () => {
  beforeAll(async () => {
    await init({ numCpus: 2, logToDriver: false });
  });
  afterAll(shutdown);

  // D1. Method: the calls before the crash succeed; the crashing one fails; later ones count from 1 again, once.
  test("maxRestarts 1: counts from 1 again after the first crash, dead for good after the second", async () => {
    const counter = Counter.options({ maxRestarts: 1 }).remote();
    expect(await get(range(0, 200).map(() => counter.increment.remote()))).toEqual(range(1, 201));
    const crash = await failure(counter.die.remote());
    expect(crash).toBeInstanceOf(ActorUnavailableError);
    expect((crash as ActorUnavailableError).maybeExecuted).toBe(true);
    expect(await get(range(0, 5).map(() => counter.increment.remote()))).toEqual([1, 2, 3, 4, 5]);
    expect(await counter.context.remote()).toMatchObject({ wasRestarted: true, restartCount: 1 });
    const second = await failure(counter.die.remote(3));
    expect(second).toBeInstanceOf(ActorDiedError);
    expect((second as Error).message).toMatch(/exited with code 3/);
    for (const ref of range(0, 5).map(() => counter.increment.remote())) {
      const error = await failure(ref);
      expect(error).toBeInstanceOf(ActorDiedError);
      expect((error as ActorDiedError).maybeExecuted).toBe(false);
    }
  });

  // Method: the call crashes the actor and is to run again; the next life's constructor fails.
  test("a call that ran in an earlier life says so, although the actor died before it was sent again", async () => {
    const actor = MadeOnce.options({ maxRestarts: 5, maxTaskRetries: -1 }).remote();
    const [crashing, behind] = [actor.die.remote(), actor.ping.remote()];
    expect(await failure(crashing)).toMatchObject({ name: "ActorDiedError", maybeExecuted: true });
    expect(await failure(behind)).toMatchObject({ name: "ActorDiedError", maybeExecuted: true });
    expect(await failure(actor.ping.remote())).toMatchObject({
      name: "ActorDiedError",
      maybeExecuted: false,
    });
  });

  // D2. Method: SIGKILL while about 1,500 of 2,000 calls are outstanding; with retries all return, in order.
  test("maxTaskRetries: outstanding calls run again after a restart, in order", async () => {
    const counter = Counter.options({ maxRestarts: 1, maxTaskRetries: -1 }).remote();
    const pid = await counter.pid.remote();
    const refs = range(0, 2000).map(() => counter.increment.remote());
    await refs[511];
    process.kill(pid, "SIGKILL");
    const values = await get(refs);
    const falls = values.filter((value, i) => i > 0 && value <= (values[i - 1] as number));
    expect(falls.length).toBeLessThanOrEqual(1);
    for (let i = 1; i < values.length; i++) {
      if (!falls.includes(values[i] as number)) expect(values[i]).toBe((values[i - 1] as number) + 1);
    }
    expect(await counter.pid.remote()).not.toBe(pid);
  });

  // Method: SIGKILL while one call is inside the gate and two wait behind it unsent or queued: the first may have run.
  test("SIGKILL mid-call: the call fails with ActorUnavailableError, calls made later run after the restart", async () => {
    const gate = Gate.remote();
    const actor = RemoteOverlap.options({ maxRestarts: 1 }).remote();
    const running = actor.meet.remote(gate);
    await until(async () => (await gate.waiting.remote()) === 1);
    kill(actor, { noRestart: false });
    const error = await failure(running);
    expect(error).toBeInstanceOf(ActorUnavailableError);
    expect((error as ActorUnavailableError).maybeExecuted).toBe(true);
    expect(await actor.mostSoFar.remote()).toBe(0);
  });

  // D9. Method: 10 calls queued at the actor's death, 10 made afterwards; none hangs.
  test("maxRestarts 0: queued and later calls all fail with ActorDiedError", async () => {
    const gate = Gate.remote();
    const actor = RemoteOverlap.remote();
    const queued = range(0, 10).map(() => actor.meet.remote(gate));
    await until(async () => (await gate.waiting.remote()) === 1);
    kill(actor);
    await failure(queued[0] as PromiseLike<number>);
    const later = range(0, 10).map(() => actor.mostSoFar.remote());
    for (const ref of [...queued, ...later]) expect(await failure(ref)).toBeInstanceOf(ActorDiedError);
  });

  test("kill without noRestart uses up a restart; with it the actor stays dead", async () => {
    const counter = Counter.options({ maxRestarts: 5 }).remote();
    const first = await counter.pid.remote();
    kill(counter, { noRestart: false });
    const second = await until(async () => {
      const pid = await get(counter.pid.remote()).catch(() => first);
      return pid === first ? undefined : pid;
    });
    expect(await counter.context.remote()).toMatchObject({ restartCount: 1 });
    kill(counter);
    await until(() => !isRunning(second));
    await until(async () => (await failure(counter.increment.remote())) instanceof ActorDiedError);
  });

  test("a restarted actor is constructed with the same arguments and gets its resources once", async () => {
    const before = (await availableResources()).CPU;
    const counter = Counter.options({ maxRestarts: 3, numCpus: 1 }).remote(50);
    expect(await counter.increment.remote()).toBe(51);
    for (let i = 0; i < 3; i++) {
      await failure(counter.die.remote());
      expect(await counter.increment.remote()).toBe(51);
    }
    await failure(counter.die.remote());
    await until(async () => (await availableResources()).CPU === before);
  });

  // D11. Method: a method throws a listed error twice, then succeeds; an unlisted one is raised at once.
  test("retryExceptions of a call: listed errors are retried, others raised", async () => {
    const flaky = Flaky.remote();
    const retried = flaky.failTimes.options({ maxTaskRetries: 5, retryExceptions: [RangeError] });
    expect(await retried.remote(2)).toBe(3);
    const other = Flaky.remote();
    const strict = other.failTimes.options({ maxTaskRetries: 5, retryExceptions: [SyntaxError] });
    const error = await failure(strict.remote(1));
    expect(error).toBeInstanceOf(TaskError);
    expect((error as TaskError).cause).toBeInstanceOf(RangeError);
  });

  // E8, D10. Method: a task creates an actor and is killed; the actor's error names its owner.
  test("an actor dies with the task that created it", async () => {
    const gate = Gate.remote();
    const task = ownActor.remote("owned", gate);
    await gate.wait.remote();
    const counter = await getActor<{ increment(): number; pid(): number }>("owned");
    const pid = await counter.pid.remote();
    cancel(task, { force: true });
    await failure(task);
    await until(() => !isRunning(pid));
    const error = await until(async () => {
      const outcome = await get(counter.increment.remote()).catch((e: unknown) => e);
      return outcome instanceof ActorDiedError ? outcome : undefined;
    });
    expect(error.message).toMatch(/owner/);
    // Its name is free again.
    const next = Counter.options({ name: "owned" }).remote(9);
    expect(await next.value.remote()).toBe(9);
  });

  // D10. Method: an actor creates an actor and hands it on; it is killed, its child follows; a detached child stays.
  test("an actor dies with the actor that created it; a detached one does not", async () => {
    const parent = Parent.remote();
    const [child] = (await parent.child.remote()) as [ReturnType<typeof Counter.remote>];
    expect(await child.increment.remote()).toBe(101);
    await parent.detachedChild.remote("survivor");
    const pid = await child.pid.remote();
    kill(parent);
    await until(() => !isRunning(pid));
    await until(async () => (await failure(child.increment.remote())) instanceof ActorDiedError);
    const survivor = await getActor<{ increment(): number }>("survivor");
    expect(await survivor.increment.remote()).toBe(3);
    kill(survivor);
  });

  // D5. Method: the caller actor is restarted while the callee goes on counting.
  test("a callee outlives its caller's restart", async () => {
    const callee = Counter.remote();
    expect(await callee.increment.remote()).toBe(1);
    const other = Counter.options({ maxRestarts: 1 }).remote();
    await failure(other.die.remote());
    await ready(other);
    expect(await callee.increment.remote()).toBe(2);
  });

  // Goal: an actor whose process cannot turn its event loop is still ended.
  test("kill ends an actor in an endless synchronous loop", async () => {
    const counter = Counter.remote();
    const pid = await counter.pid.remote();
    const spinning = counter.spin.remote();
    kill(counter);
    expect(await failure(spinning)).toBeInstanceOf(ActorDiedError);
    await until(() => !isRunning(pid));
  });
});
