/** The version of this package, as its package.json says. */
import { readFileSync } from "node:fs";
import { DAEMON_ENTRY } from "./entries.ts";

export function tsrayVersion(): string {
  const { version } = JSON.parse(readFileSync(new URL("../package.json", DAEMON_ENTRY), "utf8")) as {
    version: string;
  };
  return version;
}
