// Goal: whatever breaks whenever, each frame is taken once and in order, and what is kept stays bounded. Method: the machine
// alone, two sides over a wire that a seed cuts at any frame and in any order of events; thousands of seeds.
import { expect, test } from "vitest";
import { ClusterUnreachableError } from "../base/errors.ts";
import { randomFrom } from "./faults.ts";
import { Inbox, Outbox, Patience, WINDOW_BYTES } from "./resume-machine.ts";

interface Frame {
  readonly value: number;
  readonly bytes: number;
}

type Wire = ({ begin: number } | { confirm: number } | { frame: Frame })[];

/** One side, as channel.ts uses the machine. */
class Side {
  readonly outbox = new Outbox<Frame>();
  readonly inbox = new Inbox();
  readonly got: number[] = [];
  /** What is under way to the other side; undefined while there is no connection. */
  wire: Wire | undefined = [];
  next = 0;

  send(bytes: number): void {
    if (this.outbox.isFull) return;
    const frame = { value: this.next++, bytes };
    this.outbox.add(frame);
    this.wire?.push({ frame });
    if (this.inbox.isDue(true)) this.confirm();
  }

  confirm(): void {
    // What is said while nobody listens is lost, and counts as said.
    if (this.inbox.isUnconfirmed) this.wire?.push({ confirm: this.inbox.confirmed() });
  }

  take(from: Wire): void {
    const what = from.shift();
    if (what === undefined) return;
    if ("begin" in what) this.inbox.beginAt(what.begin);
    else if ("confirm" in what) this.outbox.confirm(what.confirm);
    else if (this.inbox.take(what.frame.bytes)) this.got.push(what.frame.value);
  }

  resume(taken: number, replays: boolean): void {
    expect(this.outbox.fits(taken)).toBe(true);
    if (!replays) this.outbox.confirm(taken);
    this.inbox.restart();
    this.wire = [{ begin: this.outbox.first }, ...this.outbox.kept().map((frame) => ({ frame }))];
  }
}

test("5,000 random histories of cuts, confirmations and replays", () => {
  let cuts = 0;
  let frames = 0;
  for (let seed = 1; seed <= 5000; seed++) {
    const random = randomFrom(seed, "");
    const [a, b] = [new Side(), new Side()];
    const reconnect = () => {
      const [byA, byB] = [a.inbox.taken, b.inbox.taken];
      a.resume(byB, random() < 0.3);
      b.resume(byA, random() < 0.3);
    };
    for (let step = 0; step < 200; step++) {
      const [one, other] = random() < 0.5 ? [a, b] : [b, a];
      const what = random();
      if (what < 0.4) one.send(random() < 0.01 ? WINDOW_BYTES : 1 + Math.floor(random() * 1000));
      else if (what < 0.8 && other.wire !== undefined) one.take(other.wire);
      else if (what < 0.88) one.confirm();
      else if (what < 0.92) {
        a.wire = undefined;
        b.wire = undefined;
        cuts += 1;
      } else if (a.wire === undefined) reconnect();
    }
    if (a.wire === undefined) reconnect();
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const) {
      const wire = from.wire as Wire;
      while (wire.length > 0) to.take(wire);
    }
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const) {
      expect(to.got, `seed ${seed}`).toEqual(Array.from({ length: from.next }, (_, i) => i));
      from.outbox.confirm(to.inbox.taken);
      expect(from.outbox.kept()).toEqual([]);
      expect(from.outbox.isFull).toBe(false);
      frames += from.next;
    }
  }
  expect(cuts).toBeGreaterThan(5000);
  expect(frames).toBeGreaterThan(100_000);
});

test("what a peer cannot have taken, and a connection that leaves frames out, are refused", () => {
  const outbox = new Outbox<Frame>();
  for (let i = 0; i < 5; i++) outbox.add({ value: i, bytes: 1 });
  outbox.confirm(3);
  expect([2, 3, 5, 6, "4", -1, 3.5].map((taken) => outbox.fits(taken))).toEqual([
    ...[false, true, true],
    ...[false, false, false, false],
  ]);
  expect(() => outbox.confirm(6)).toThrow(ClusterUnreachableError);
  expect(() => outbox.confirm(2)).toThrow("confirmed 2 frames, of 5 that were sent and 3 confirmed");
  const inbox = new Inbox();
  inbox.take(1);
  inbox.restart();
  expect(() => inbox.take(1)).toThrow("without saying where");
  expect(() => inbox.beginAt(3)).toThrow("went on with frame 3 after frame 1");
  inbox.beginAt(1);
  expect([inbox.take(1), inbox.take(1), inbox.taken]).toEqual([false, true, 2]);
  expect(() => inbox.beginAt(1)).toThrow(ClusterUnreachableError);
});

test("a peer is told of what was taken after so many frames or bytes", () => {
  const inbox = new Inbox();
  const until = (isDue: () => boolean, bytes: number) => {
    let frames = 0;
    for (; !isDue(); frames++) inbox.take(bytes);
    inbox.confirmed();
    return frames;
  };
  expect(until(() => inbox.isDue(false), 10)).toBe(64);
  expect(until(() => inbox.isDue(true), 10)).toBe(16);
  expect(until(() => inbox.isDue(false), 100_000)).toBe(3);
});

test("a silent peer is tried until the limit, one that answers for ever, and time that this side was stopped hardly counts", () => {
  const silent = new Patience(5000, () => 0.5);
  let spentMs = 0;
  let attempts = 0;
  for (let pauseMs: number | undefined = 0; pauseMs !== undefined; attempts++) {
    expect(pauseMs).toBeLessThanOrEqual(250);
    spentMs += pauseMs;
    pauseMs = silent.failed(pauseMs);
  }
  expect(spentMs).toBeGreaterThan(4700);
  expect(spentMs).toBeLessThanOrEqual(5000 + 250);
  expect(attempts).toBeLessThan(50);
  const stopped = new Patience(5000, () => 0);
  expect([3_600_000, 3_600_000, 10].map((waitedMs) => stopped.failed(waitedMs) === undefined)).toEqual([
    ...[false, false, false],
  ]);
  expect(stopped.failed(2000)).toBeUndefined();
  const alive = new Patience(5000, Math.random);
  for (let i = 0; i < 100; i++) {
    expect(alive.failed(1000)).toBeDefined();
    alive.answered();
  }
});
