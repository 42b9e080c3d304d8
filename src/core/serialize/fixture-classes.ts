/** Module-level classes for scopes.test.ts and codec.test.ts, found through the anchor function below. */

/** An ordinary class of a user's module; never exported, so only its scope leads to it. */
class Point {
  x: number;
  y: number;
  constructor(x: number, y: number) {
    this.x = x;
    this.y = y;
  }
  norm(): number {
    return Math.hypot(this.x, this.y);
  }
}

class HttpError extends Error {
  status: number;
  constructor(message: string, status: number) {
    super(message);
    this.name = "HttpError";
    this.status = status;
  }
}

/** Its setter must not run when an instance is rebuilt. */
class Guarded {
  declare value: number;
  static calls = 0;
  constructor(value: number) {
    Object.defineProperty(this, "value", { value, enumerable: true, writable: true, configurable: true });
  }
}
Object.defineProperty(Guarded.prototype, "value", {
  set() {
    Guarded.calls++;
  },
  configurable: true,
});

class Secret {
  #token: string;
  constructor(token: string) {
    this.#token = token;
  }
  reveal(): string {
    return this.#token;
  }
}

/** The anchor: uses the classes, as a remote function of the user would. */
export function makeSamples() {
  return {
    point: new Point(3, 4),
    error: new HttpError("gone", 410),
    guarded: new Guarded(5),
    guardedCalls: () => Guarded.calls,
    secret: new Secret("s"),
  };
}
