// Goal: the faults are those their names say, the same for the same seed, and refused when misspelt; and calls that are
// made again end with an answer. Method: calls that count how often they were served.
import { expect, test } from "vitest";
import { ClusterUnreachableError, InvalidOptionError } from "../base/errors.ts";
import { parseFaults, RpcFaults } from "./faults.ts";
import { retrying } from "./retry.ts";

/** One call under a plan: how often it was served by the end, and what the caller saw. */
async function once(spec: string): Promise<{ served: number; seen: string }> {
  let served = 0;
  const serve = async () => {
    served += 1;
    return "reply";
  };
  const faults = new RpcFaults(parseFaults(`delayMs=0,${spec}`));
  const seen = await faults.around("/tsray.v1.HeadService/CreateActors", serve).catch((error: Error) => {
    expect(error).toBeInstanceOf(ClusterUnreachableError);
    return error.message.split(" (TSRAY_TEST_FAULTS)")[0] as string;
  });
  await new Promise((resolve) => setTimeout(resolve, 5));
  return { served, seen };
}

test.each([
  ["loseRequest=1", 0, "no answer to CreateActors: the request was lost"],
  ["loseReply=1", 1, "no answer to CreateActors: the reply was lost"],
  ["inFlight=1", 1, "no answer to CreateActors: the connection failed while it was served"],
  ["duplicate=1", 2, "reply"],
  ["delay=1", 1, "reply"],
  ["loseRequest=1,only=ReportActors", 1, "reply"],
  ["loseRequest=1,only=ReportActors|CreateActors", 0, "no answer to CreateActors: the request was lost"],
])("%s", async (spec, served, seen) => {
  expect(await once(spec)).toEqual({ served, seen });
});

test("the same seed does the same, another seed and another process something else", async () => {
  const story = async (seed: number, salt: string) => {
    const faults = new RpcFaults(parseFaults(`seed=${seed},loseRequest=0.5`), salt);
    const calls = Array.from({ length: 64 }, () => faults.around("X", async () => "1").catch(() => "0"));
    return (await Promise.all(calls)).join("");
  };
  expect(await story(7, "worker.js")).toBe(await story(7, "worker.js"));
  expect(await story(7, "worker.js")).toMatch(/01|10/);
  expect(await story(8, "worker.js")).not.toBe(await story(7, "worker.js"));
  expect(await story(7, "daemon.js")).not.toBe(await story(7, "worker.js"));
});

test.each(["loseRequests=0.1", "loseRequest=2", "loseRequest=", "delayMs=soon", "seed"])(
  "%s is refused",
  (spec) => {
    expect(() => parseFaults(spec)).toThrow(InvalidOptionError);
    expect(() => parseFaults(spec)).toThrow(`got "${spec}"`);
  },
);

test("a call is made again while a repeat can help, and no longer", async () => {
  const failing = (times: number, error: Error) => {
    let calls = 0;
    return {
      make: async () => {
        calls += 1;
        if (calls <= times) throw error;
        return calls;
      },
      get calls() {
        return calls;
      },
    };
  };
  const lost = new ClusterUnreachableError("lost");
  expect(await retrying(10_000, failing(3, lost).make)).toBe(4);
  const wrong = failing(1, new InvalidOptionError("wrong"));
  await expect(retrying(10_000, wrong.make)).rejects.toThrow(InvalidOptionError);
  expect(wrong.calls).toBe(1);
  const never = failing(Number.POSITIVE_INFINITY, lost);
  await expect(retrying(200, never.make)).rejects.toBe(lost);
  expect(never.calls).toBeGreaterThan(1);
});
