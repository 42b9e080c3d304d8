// A driver of the failpoint run: joins, makes an actor, prints its process and leaves.
import { init, shutdown } from "tsray";
import { Life } from "./lives.mjs";

const [, , address = "", token = "", file = ""] = process.argv;
await init({ address, token, logToDriver: false, timeout: 30_000 });
console.log(await Life.remote(file).pid.remote());
await shutdown();
