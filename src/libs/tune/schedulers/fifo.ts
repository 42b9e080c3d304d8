/** First in, first out: every trial runs to its own end. */
import { BaseScheduler, type Decision } from "./scheduler.ts";

export class FIFO extends BaseScheduler {
  readonly name = "FIFO";

  constructor() {
    super("training_iteration");
  }

  onReport(): Decision {
    return "continue";
  }

  save(): unknown {
    return null;
  }

  restore(): void {}
}
