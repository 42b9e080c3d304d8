// A cluster whose nodes run on machines of their own: head and daemons are the built programs, told by the same line of
// JSON as `tsray start` tells them. All go with this process, which holds their standard inputs.
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const TOKEN = "0123456789abcdef0123456789abcdef";
const STORE_BYTES = 64 * 1024 * 1024;
const program = (/** @type {string} */ name) =>
  fileURLToPath(new URL(`../../dist/${name}.js`, import.meta.url));

/** @typedef {import("./networks.mjs").Machine} Machine */
/** @typedef {{ periodMs: number, timeoutMs: number, failureThreshold: number, outageGraceMs: number }} HealthCheck */

/**
 * Runs a program at a machine and waits for its word.
 * @param {Machine} machine @param {string} name @param {object} config @param {(news: any) => boolean} isReady
 * @returns {Promise<{ news: any, end(): Promise<void> }>}
 */
function start(machine, name, config, isReady) {
  const [file = "", ...args] = machine.at(process.execPath, program(name));
  const child = spawn(file, args, { stdio: ["pipe", "pipe", "inherit"] });
  child.stdin.on("error", () => {});
  child.stdin.write(`${JSON.stringify(config)}\n`);
  const ended = new Promise((resolve) => child.on("exit", resolve));
  return new Promise((resolve, reject) => {
    let text = "";
    child.stdout.setEncoding("utf8").on("data", (chunk) => {
      text += chunk;
      const lines = text.split("\n");
      text = lines.pop() ?? "";
      for (const line of lines) {
        const news = JSON.parse(line);
        if (news.kind === "failed") reject(new Error(`${name}: ${news.error.message}`));
        if (!isReady(news)) continue;
        resolve({
          news,
          end: async () => {
            child.stdin.end();
            await ended;
          },
        });
      }
    });
    void ended.then(() => reject(new Error(`${name} has ended`)));
  });
}

function makeSession(/** @type {string} */ runtimeDir) {
  const dir = join(runtimeDir, `tsray-${process.getuid?.() ?? 0}`, `s-${randomBytes(4).toString("hex")}`);
  for (const each of ["logs", "nodes"]) mkdirSync(join(dir, each), { recursive: true, mode: 0o700 });
  return dir;
}

export class Nodes {
  /** @type {(() => Promise<void>)[]} */
  #ends = [];
  address = "";

  /** @param {string} runtimeDir @param {HealthCheck} healthCheck */
  constructor(runtimeDir, healthCheck) {
    this.runtimeDir = runtimeDir;
    this.healthCheck = healthCheck;
  }

  /** @param {Machine} machine */
  async startHead(machine) {
    const sessionDir = makeSession(this.runtimeDir);
    const { news, end } = await start(
      machine,
      "head",
      {
        bind: `${machine.address}:0`,
        token: TOKEN,
        sessionDir,
        state: "memory",
        healthCheck: this.healthCheck,
        packagesDir: join(sessionDir, "packages"),
      },
      ({ kind }) => kind === "serving",
    );
    this.address = news.address;
    this.#ends.push(end);
  }

  /** @param {Machine} machine @param {Record<string, number>} resources @returns {Promise<{ nodeId: string, pid: number }>} */
  async add(machine, resources, isHead = false) {
    const nodeId = randomBytes(8).toString("hex");
    const { CPU: numCpus = 0, ...others } = resources;
    const { news, end } = await start(
      machine,
      "daemon",
      {
        ...{ nodeId, sessionDir: makeSession(this.runtimeDir), token: TOKEN, tokenGiven: true, isHead },
        ...{ host: machine.address, headAddress: this.address, numCpus, numGpus: 0, resources: others },
        ...{ labels: {}, objectStoreMemory: STORE_BYTES, embedded: false, lifeline: true, standing: false },
      },
      ({ kind }) => kind === "joined",
    );
    this.#ends.unshift(end);
    return { nodeId, pid: news.pid };
  }

  async end() {
    for (const end of this.#ends) await end();
  }
}
