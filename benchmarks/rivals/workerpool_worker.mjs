// What the processes of the workerpool run.
import * as work from "../work/functions.mjs";
import { rival } from "./packages.mjs";

rival("workerpool").worker({ ...work });
