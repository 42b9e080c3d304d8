// Rates at which one node brings an object from another over loopback: a task on the second node times `get`.
// Prints one line per size: median of 5 rounds, smallest, largest; then what a second of processor time moves at the daemon
// that sends and at the one that receives, which other load on the machine changes little. The first round, into memory
// that was never touched, is not counted.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { free, get, init, remote, shutdown, wait } from "tsray";
import { Cluster } from "tsray/testing";

const ROUNDS = 5;
const MB = 1e6;
const STORE_BYTES = 1_000 * MB;

const make = remote((bytes) => new Uint8Array(bytes).fill(7));
const timeGet = remote(async ({ ref }) => {
  const startedMs = performance.now();
  const bytes = await get(ref);
  const ms = performance.now() - startedMs;
  if (bytes[bytes.length - 1] !== 7) throw new Error("the object arrived damaged");
  return ms;
});

const TICKS_PER_S = Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" }));
/** Seconds of processor time that a process has used. */
const cpuSeconds = ({ pid }) => {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_S;
};

const cluster = await Cluster.start();
const from = await cluster.addNode({ resources: { from: 1 }, objectStoreMemory: STORE_BYTES });
const to = await cluster.addNode({ resources: { to: 1 }, objectStoreMemory: STORE_BYTES });
await init({ address: cluster.address });

for (const megabytes of [10, 100, 400]) {
  const rates = [];
  const used = { from: 0, to: 0 };
  for (let round = 0; round <= ROUNDS; round++) {
    const ref = make.options({ resources: { from: 1 } }).remote(megabytes * MB);
    await wait([ref]);
    const before = { from: cpuSeconds(from), to: cpuSeconds(to) };
    const ms = await timeGet.options({ resources: { to: 1 } }).remote({ ref });
    if (round > 0) {
      rates.push((megabytes * MB) / ms / 1e6);
      used.from += cpuSeconds(from) - before.from;
      used.to += cpuSeconds(to) - before.to;
    }
    free([ref]);
  }
  rates.sort((a, b) => a - b);
  const [low, median, high] = [rates[0], rates[ROUNDS >> 1], rates[ROUNDS - 1]].map((n) => n.toFixed(2));
  const perCpuSecond = (seconds) => ((ROUNDS * megabytes * MB) / seconds / 1e9).toFixed(2);
  console.log(
    `${`${megabytes} MB from node to node`.padEnd(28)} ${median} GB/s  (${low} to ${high}); GB per CPU second: ${perCpuSecond(used.from)} sent, ${perCpuSecond(used.to)} received`,
  );
}
await shutdown();
await cluster.shutdown();
