// What a Node process holds once it has collected its garbage: `node --experimental-websocket settled-memory.mjs PID` opens the
// process's inspector (SIGUSR1), has it collect, and prints the bytes of its resident set.
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const TARGETS = "http://127.0.0.1:9229/json/list";
const pid = Number(process.argv[2]);

process.kill(pid, "SIGUSR1");
const { webSocketDebuggerUrl, title } = await target();
const socket = new WebSocket(webSocketDebuggerUrl);
await new Promise((resolve, reject) => {
  socket.onopen = resolve;
  socket.onerror = () => reject(new Error(`the inspector of ${title} does not answer`));
});
if ((await ask(1, "Runtime.evaluate", { expression: "process.pid" })).result.value !== pid)
  throw new Error(`another process than ${pid} has the inspector's port`);
// What the first finds dead by its end (weak references, finalisers) the second frees.
await ask(2, "HeapProfiler.collectGarbage");
await ask(3, "HeapProfiler.collectGarbage");
const status = readFileSync(`/proc/${pid}/status`, "utf8");
console.log(Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) * 1024);
// So that the next process finds the port free, and this one's descriptors are what they were.
const expression = '{ const { close } = require("node:inspector"); setTimeout(close, 20); }';
await ask(4, "Runtime.evaluate", { expression, includeCommandLineAPI: true });
socket.close();

/** The inspector opens a moment after the signal. */
async function target() {
  for (let tries = 0; ; tries++) {
    try {
      const [first] = /** @type {any[]} */ (await (await fetch(TARGETS)).json());
      return first;
    } catch (error) {
      if (tries === 50) throw error;
      await sleep(100);
    }
  }
}

/** @returns {Promise<any>} */
function ask(/** @type {number} */ id, /** @type {string} */ method, params = {}) {
  return new Promise((resolve, reject) => {
    const onMessage = (/** @type {MessageEvent} */ { data }) => {
      const answer = JSON.parse(String(data));
      if (answer.id !== id) return;
      socket.removeEventListener("message", onMessage);
      if (answer.error === undefined) resolve(answer.result);
      else reject(new Error(`${method}: ${answer.error.message}`));
    };
    socket.addEventListener("message", onMessage);
    socket.send(JSON.stringify({ id, method, params }));
  });
}
