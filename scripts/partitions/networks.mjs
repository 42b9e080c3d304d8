// Machines of their own network, on one switch: each is a network namespace that a process holds open, so that nothing of
// them outlives this program's process namespace, however it ends. What cuts them off is a port taken from the switch
// (both ways, silently: no link goes down) or a route that swallows what one machine sends to another.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";

const SUBNET = "10.77.0";

/** How this machine lets us have namespaces; undefined = not at all, and then `why` says what is missing. */
export function namespaceFlags() {
  /** @type {string[]} */
  const whys = [];
  const trial =
    "mount -t tmpfs tmpfs /dev/shm && ip link add br0 type bridge && ip link add v0 type veth peer name v1";
  for (const flags of [["-nmpf"], ["-Urnmpf"]]) {
    try {
      execFileSync("unshare", [...flags, "--mount-proc", "--kill-child", "sh", "-c", trial], {
        stdio: "pipe",
        env: pathWithSbin(),
      });
      return { flags, why: "" };
    } catch (error) {
      const { message, stderr } = /** @type {{ message: string, stderr?: Buffer }} */ (error);
      whys.push(stderr?.toString().trim() || message.split("\n")[0] || "");
    }
  }
  return { flags: undefined, why: whys.join("; ") };
}

/** Users' search path often lacks the directory of `ip`. */
export const pathWithSbin = () => ({ ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` });

/** Processes that hold namespaces open go with this one: they read from it. @param {string[]} command */
async function hold(...command) {
  const child = spawn("unshare", ["-n", ...command], { stdio: ["pipe", "pipe", "inherit"] });
  await Promise.race([
    once(child.stdout, "data"),
    once(child, "exit").then(() => {
      throw new Error("a network namespace could not be made");
    }),
  ]);
  return child;
}

/** A machine. The first one is that of this process. */
export class Machine {
  /** @param {Network} network @param {number} number @param {number | undefined} pid */
  constructor(network, number, pid) {
    this.network = network;
    this.address = `${SUBNET}.${number}`;
    this.port = `port${number}`;
    this.pid = pid;
  }

  /** The command line that runs a program there. @param {string[]} command */
  at(...command) {
    return this.pid === undefined ? command : ["nsenter", "-t", String(this.pid), "-n", ...command];
  }

  /** @param {string[]} args */
  ip(...args) {
    const [file = "", ...rest] = this.at("ip", ...args);
    execFileSync(file, rest, { stdio: "pipe" });
  }

  /** Cuts it off from all others, both ways. */
  cut() {
    this.network.onSwitch("link", "set", this.port, "nomaster");
  }

  heal() {
    this.network.onSwitch("link", "set", this.port, "master", "br0");
  }

  /** Nothing that it sends reaches the other. @param {Machine} other */
  mute(other) {
    this.ip("route", "add", "blackhole", `${other.address}/32`);
  }

  /** @param {Machine} other */
  unmute(other) {
    this.ip("route", "del", "blackhole", `${other.address}/32`);
  }
}

export class Network {
  /** @type {number} */
  #switch = 0;
  #machines = 0;

  /** @param {string[]} args */
  onSwitch(...args) {
    execFileSync("nsenter", ["-t", String(this.#switch), "-n", "ip", ...args], { stdio: "pipe" });
  }

  /** Makes the switch and this process's machine. */
  static async make() {
    const network = new Network();
    const holder = await hold("sh", "-c", "echo ready; exec cat");
    network.#switch = /** @type {number} */ (holder.pid);
    network.onSwitch("link", "add", "br0", "type", "bridge");
    network.onSwitch("link", "set", "br0", "up");
    const own = new Machine(network, ++network.#machines, undefined);
    network.#plug(own);
    return { network, own };
  }

  async add() {
    const holder = await hold("sh", "-c", "echo ready; exec cat");
    const machine = new Machine(this, ++this.#machines, holder.pid);
    this.#plug(machine);
    return machine;
  }

  /** @param {Machine} machine */
  #plug(machine) {
    const end = ["peer", "name", "eth0", "netns", String(machine.pid ?? process.pid)];
    this.onSwitch("link", "add", machine.port, "type", "veth", ...end);
    machine.ip("link", "set", "lo", "up");
    machine.ip("addr", "add", `${machine.address}/24`, "dev", "eth0");
    machine.ip("link", "set", "eth0", "up");
    this.onSwitch("link", "set", machine.port, "master", "br0", "up");
  }
}
