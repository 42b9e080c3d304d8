// What the processes of the workerpool run.
import { rival } from "./packages.mjs";

rival("workerpool").worker({ ok: () => "ok" });
