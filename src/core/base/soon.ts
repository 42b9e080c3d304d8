/** What is done when the code that runs now has returned. */

const now = Promise.resolve();

/**
 * As queueMicrotask, in the same order, without what Node makes for each of its calls (a resource for async_hooks): it is
 * called once per turn and channel, and a call at a time is a turn. What `run` throws ends the process.
 */
export function soon(run: () => void): void {
  void now.then(run);
}
