/**
 * Who gets an object from this node, when many ask at once: a few are served, the others wait in line, and whoever has got
 * it whole takes half of the line along and serves it in the same way. So a broadcast spreads as a tree, and the node where
 * it began uploads a few times only. Pure; one per object.
 */

/** Uploads at a time while nobody else is known to have the object, and once somebody has. */
const SERVED_AT_ONCE_MAX = 2;
const SERVED_BESIDE_OTHERS_MAX = 1;
/** Other holders that are remembered. */
export const HOLDERS_MAX = 16;

export type Step<Asker> =
  | { readonly kind: "serve"; readonly asker: Asker }
  /** `asker` is to ask the node behind `holder`. */
  | { readonly kind: "move"; readonly asker: Asker; readonly holder: Asker };

export class UploadLine<Asker> {
  readonly #serving = new Set<Asker>();
  #line: { readonly asker: Asker; readonly insists: boolean }[] = [];
  /** Those who got it from here, latest last. */
  readonly #holders: Asker[] = [];
  #nextHolder = 0;

  /** Those who are known to have got the object, latest last. */
  get holders(): readonly Asker[] {
    return this.#holders;
  }

  get isIdle(): boolean {
    return this.#serving.size === 0 && this.#line.length === 0;
  }

  isWaiting(asker: Asker): boolean {
    return this.#line.some((waiting) => waiting.asker === asker);
  }

  /** @param insists it has been sent elsewhere before, in vain: it is served here, and before the others */
  ask(asker: Asker, insists: boolean): Step<Asker>[] {
    if (insists) this.#line.unshift({ asker, insists });
    else this.#line.push({ asker, insists });
    const steps = this.#serveNext();
    if (this.#holders.length > 0) steps.push(...this.#moveAll());
    return steps;
  }

  /** An asker goes. @param complete it has got the whole object */
  end(asker: Asker, complete: boolean): Step<Asker>[] {
    const wasServed = this.#serving.delete(asker);
    this.#line = this.#line.filter((waiting) => waiting.asker !== asker);
    const steps: Step<Asker>[] = [];
    if (wasServed && complete) {
      this.#holders.push(asker);
      if (this.#holders.length > HOLDERS_MAX) this.#holders.shift();
      steps.push(...this.#handOver(asker));
    }
    steps.push(...this.#serveNext());
    return steps;
  }

  /** Forgets a holder: its node is gone. */
  forget(isGone: (holder: Asker) => boolean): void {
    for (let i = this.#holders.length - 1; i >= 0; i--) {
      if (isGone(this.#holders[i] as Asker)) this.#holders.splice(i, 1);
    }
  }

  /** Half of those who wait, and may be sent elsewhere, go to the one who has got the object. */
  #handOver(holder: Asker): Step<Asker>[] {
    const movable = this.#line.filter(({ insists }) => !insists);
    const going = new Set(movable.slice(0, Math.ceil(movable.length / 2)));
    this.#line = this.#line.filter((waiting) => !going.has(waiting));
    return [...going].map(({ asker }) => ({ kind: "move", asker, holder }));
  }

  /** All who cannot be served now, and may be sent elsewhere, go to the holders in turn. */
  #moveAll(): Step<Asker>[] {
    const movable = this.#line.filter(({ insists }) => !insists);
    this.#line = this.#line.filter(({ insists }) => insists);
    return movable.map(({ asker }) => {
      const holder = this.#holders[this.#nextHolder++ % this.#holders.length] as Asker;
      return { kind: "move", asker, holder };
    });
  }

  #serveNext(): Step<Asker>[] {
    const steps: Step<Asker>[] = [];
    const most = this.#holders.length === 0 ? SERVED_AT_ONCE_MAX : SERVED_BESIDE_OTHERS_MAX;
    while (this.#serving.size < most) {
      const next = this.#line.shift();
      if (next === undefined) break;
      this.#serving.add(next.asker);
      steps.push({ kind: "serve", asker: next.asker });
    }
    return steps;
  }
}
