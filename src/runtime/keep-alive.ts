/** Keeps the driver's process alive while something is outstanding; sockets alone do not. */
const HOUR_MS = 3_600_000;

let count = 0;
let timer: NodeJS.Timeout | undefined;

export function keepAlive(delta: 1 | -1): void {
  count += delta;
  // One timer for good: a call at a time would make one each.
  timer ??= setInterval(() => {}, HOUR_MS);
  if (count === 0) timer.unref();
  else if (count === delta) timer.ref();
}
