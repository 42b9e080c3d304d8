// What `npm run bench -- ...` is asked for. @throws UsageError, whose message is for the user
import { parseArgs } from "node:util";
import { RIVALS } from "./rivals/rivals.mjs";

export const GROUPS = [
  "start",
  "objects",
  "tasks",
  "actors",
  "efficiency",
  "jobs",
  "envelope",
  "memory",
  "head",
];

export class UsageError extends Error {}

export function readFlags(args) {
  const { vs, only, group, passes, json, quick, heavy } = parse(args);
  const rivals = listOf("--vs", vs, Object.keys(RIVALS));
  const count = passes === undefined ? (rivals.length > 0 ? 3 : 1) : Number(passes);
  if (!Number.isInteger(count) || count < 1)
    throw new UsageError(`--passes must be a whole number from 1, got ${JSON.stringify(passes)}`);
  return {
    rivals,
    groups: group === undefined ? GROUPS : listOf("--group", group, GROUPS),
    only: readRegex(only),
    passes: count,
    quick,
    heavy,
    json,
  };
}

function parse(args) {
  try {
    return parseArgs({
      args,
      options: {
        vs: { type: "string", default: "" },
        only: { type: "string", default: "" },
        group: { type: "string" },
        passes: { type: "string" },
        json: { type: "string" },
        quick: { type: "boolean", default: false },
        heavy: { type: "boolean", default: false },
      },
    }).values;
  } catch (error) {
    throw new UsageError(error.message);
  }
}

function listOf(flag, text, allowed) {
  const names = text.split(",").filter((name) => name !== "");
  const unknown = names.find((name) => !allowed.includes(name));
  if (unknown !== undefined)
    throw new UsageError(`${flag} takes ${allowed.join(", ")}, got ${JSON.stringify(unknown)}`);
  return names;
}

function readRegex(text) {
  try {
    return new RegExp(text, "i");
  } catch (error) {
    throw new UsageError(`--only must be a regular expression: ${error.message}`);
  }
}
