// A driver that is killed (R28), whose cluster is stopped (R29), or that joins and leaves (R35), as scripts/chaos-rows.mjs says.
import { get, init, put, shutdown } from "tsray";
import { Notes, naps, parent } from "./row-work.mjs";

const [, , kind, address, file] = /** @type {[string, string, string, string, string]} */ (process.argv);
await init({ address, logToDriver: false, namespace: "rows" });
const say = (/** @type {unknown} */ fact) => console.log(JSON.stringify(fact));

if (kind === "R35") {
  for (let left = Number(file) - 1; left > 0; left--) {
    await shutdown();
    await init({ address, logToDriver: false });
  }
  await shutdown();
} else if (kind === "R28") {
  const kept = Notes.options({ name: "kept", lifetime: "detached", numCpus: 0 }).remote();
  const actors = Array.from({ length: 20 }, () => Notes.options({ numCpus: 0 }).remote());
  const pids = await get([kept, ...actors].map((actor) => actor.pid.remote()));
  const large = put(new Uint8Array(20_000_000));
  const held = Array.from({ length: 500 }, () => parent.remote(file));
  say(pids);
  await get(held);
  void large;
} else {
  // Four are done before the end begins; two run on into it; one of "endless" would never be done.
  const done = await get(Array.from({ length: 4 }, () => naps.remote(file, 5)));
  const running = Array.from({ length: 2 }, () => naps.remote(file, kind === "endless" ? 1e9 : 1500));
  say(done);
  const outcomes = await Promise.all(
    running.map((ref) =>
      get(ref).then(
        () => "value",
        (/** @type {Error} */ error) => error.name,
      ),
    ),
  );
  say(outcomes);
  process.exit(0);
}
