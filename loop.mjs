import { init, put, shutdown, get } from "tsray";
const MB = 1e6;
const N = Number(process.argv[2] ?? 200), SIZE = Number(process.argv[3] ?? 10) * MB, STORE = Number(process.argv[4] ?? 200)*MB;
const ballast = process.argv[5] ? Array.from({length: Number(process.argv[5])}, (_, i) => ({ i, s: "x" + i })) : [];
await init({ numCpus: 1, objectStoreMemory: STORE });
const { attachStore } = {};
const bytes = new Uint8Array(SIZE);
const t = performance.now();
let worst = 0;
for (let i = 0; i < N; i++) { const s = performance.now(); put(bytes.slice(0, 200_000)); worst = Math.max(worst, performance.now() - s); }
const ms = performance.now() - t;
console.log(`${N} puts of ${SIZE/MB} MB in ${ms.toFixed(0)} ms: ${(ms/N).toFixed(2)} ms each, worst ${worst.toFixed(0)} ms, ${ballast.length}`);
await shutdown();
