/** Starts a head as a process of its own, which goes with this one, and waits until it serves. */
import { join } from "node:path";
import { type ErrorRecord, fromErrorRecord } from "../base/errors.ts";
import type { HeadNews, HeadProcessConfig } from "./daemon-config.ts";
import { HEAD_ENTRY } from "./entries.ts";
import { type StartedProgram, startProgram } from "./start-program.ts";

export interface StartedHead extends Pick<StartedProgram<HeadNews>, "pid" | "ended" | "release" | "unref"> {
  /** Where it serves. Rejects with what kept it from starting. */
  readonly serving: Promise<string>;
}

export function startHeadProcess(config: HeadProcessConfig): StartedHead {
  const program = startProgram<HeadNews>(HEAD_ENTRY, config, {
    what: "head",
    stderrPath: join(config.sessionDir, "logs", "head.err"),
    holdsInput: true,
  });
  const serving = new Promise<string>((resolve, reject) => {
    program.onFailed = reject;
    program.onNews = (news) => {
      if (news.kind === "serving") resolve(news.address);
      else reject(fromErrorRecord(news.error as ErrorRecord));
    };
  });
  serving.catch(() => {});
  const { pid, ended, release, unref } = program;
  return { pid, ended, release, unref, serving };
}
