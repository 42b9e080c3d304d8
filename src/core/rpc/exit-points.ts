/**
 * Where tests have a process die, as from SIGKILL: TSRAY_TEST_EXIT_AT="head: committed actor-states#3" ends the program
 * `head` when it comes to that point for the third time. It is read once; without it nothing here runs.
 *
 *   asked METHOD       a call has arrived          asking METHOD      a call is about to leave
 *   served METHOD      its answer is ready         answered METHOD    its answer has come
 *   replied METHOD     the answer has been sent
 *   committing TABLE   before a write of the state store          committed TABLE    it is on disk, and nobody knows yet
 */
import { basename } from "node:path";
import { InvalidOptionError } from "../base/errors.ts";

const POINT =
  /^(\w+): ((?:asked|served|replied|asking|answered|committing|committed) [\w-]+)(?:#([1-9]\d*))?$/;

export class ExitPoint {
  readonly point: string;
  #passesLeft: number;
  readonly #exit: () => void;

  /** @param exit what ends the process */
  constructor(point: string, passes: number, exit: () => void) {
    this.point = point;
    this.#passesLeft = passes;
    this.#exit = exit;
  }

  /** The process is at that point. */
  reach(point: string): void {
    if (point !== this.point) return;
    this.#passesLeft -= 1;
    if (this.#passesLeft === 0) this.#exit();
  }

  /** As {@link reach}, after what was written until now has left. */
  reachLater(point: string): void {
    if (point === this.point) setImmediate(() => setImmediate(() => this.reach(point)));
  }
}

/** @returns undefined where it is another program's. @throws InvalidOptionError when it is no point */
export function parseExitPoint(spec: string, program: string, exit: () => void): ExitPoint | undefined {
  const [, of, point, passes = "1"] = POINT.exec(spec) ?? [];
  if (of === undefined || point === undefined) {
    throw new InvalidOptionError(
      `TSRAY_TEST_EXIT_AT must be "PROGRAM: POINT METHOD" or "PROGRAM: POINT TABLE", with #N for the Nth time, where ` +
        `POINT is asked, served, replied, asking, answered, committing or committed, got "${spec}"`,
    );
  }
  return of === program ? new ExitPoint(point, Number(passes), exit) : undefined;
}

const { TSRAY_TEST_EXIT_AT } = process.env;

/** Of this process; undefined where nobody asked for it. */
export const exitPoint: ExitPoint | undefined = TSRAY_TEST_EXIT_AT
  ? parseExitPoint(TSRAY_TEST_EXIT_AT, basename(process.argv[1] ?? "", ".js"), () =>
      process.kill(process.pid, "SIGKILL"),
    )
  : undefined;
