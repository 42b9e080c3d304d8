// Resident memory of an idle embedded cluster with 2 workers: driver, daemon and workers. Prints MB per process and in all.
import { readdirSync, readFileSync } from "node:fs";
import { init, remote, shutdown } from "tsray";

const pid = remote(() => process.pid);
await init({ numCpus: 2 });
await Promise.all(Array.from({ length: 50 }, () => pid.remote()));
// Settled: leases have gone back and start-up garbage is collected.
await new Promise((resolve) => setTimeout(resolve, 3000));

const status = (id) => readFileSync(`/proc/${id}/status`, "utf8");
const field = (text, name) => new RegExp(`^${name}:\\s*(.*)$`, "m").exec(text)?.[1] ?? "";
const all = readdirSync("/proc")
  .filter((name) => /^\d+$/.test(name))
  .flatMap((id) => {
    try {
      const text = status(id);
      return [
        {
          pid: Number(id),
          parent: Number(field(text, "PPid")),
          rssMb: Number.parseInt(field(text, "VmRSS"), 10) / 1024,
          name: field(text, "Name"),
        },
      ];
    } catch {
      return [];
    }
  });
const tree = new Set([process.pid]);
for (let grew = true; grew; ) {
  grew = false;
  for (const each of all) {
    if (tree.has(each.parent) && !tree.has(each.pid)) {
      tree.add(each.pid);
      grew = true;
    }
  }
}
let sum = 0;
for (const each of all.filter(({ pid: id }) => tree.has(id))) {
  sum += each.rssMb;
  console.log(`${each.name.padEnd(20)} ${each.rssMb.toFixed(0)} MB`);
}
console.log(`total ${sum.toFixed(0)} MB`);
await shutdown();
