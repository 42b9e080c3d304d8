// Goal: what waits for long says why, in one line at the driver. Method: a script whose task, actor and resources wait.
import { expect, test } from "vitest";
import { Sandbox } from "./support.ts";

test("after 10 s a line each says what a task's arguments, a task and an actor wait for", async () => {
  await using sandbox = new Sandbox({
    "main.mjs": `
      import { init, remote, shutdown } from "tsray";
      const slow = remote(() => new Promise(() => {}), { numCpus: 0 });
      const dependent = remote((x) => x);
      const greedy = remote(() => 0, { resources: { unobtainium: 1 } });
      const Needy = remote(class Needy { call() {} }, { resources: { unobtainium: 1 } });
      await init({ numCpus: 1 });
      const waiting = [dependent.remote(slow.remote()), dependent.remote(slow.remote()), greedy.remote()];
      const needy = Needy.remote();
      waiting.push(needy.call.remote());
      await Promise.all(waiting);`,
  });
  const script = sandbox.start("main.mjs");
  await script.prints("task dependent has waited");
  await script.prints("task greedy and 0 more have waited");
  await script.prints("actor Needy");
  script.child.kill("SIGKILL");
  const { stderr } = await script.ended;
  expect(stderr).toMatch(
    /task dependent has waited 10 s for its arguments: 1 of 1 refs have no value yet, made by slow\n/,
  );
  expect(stderr).toMatch(/task greedy and 0 more have waited 10 s: infeasible: .*unobtainium/);
  expect(stderr).toMatch(/actor Needy \(\w+\) has waited \d+ s: .*unobtainium/);
  expect(stderr.match(/task dependent/g)).toHaveLength(1);
});
