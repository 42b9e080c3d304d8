/** Which GPU of the node belongs to which lease, by number; fractions share one device. */
import { UNITS } from "../../core/base/resources.ts";

export class GpuSlots {
  readonly #ids: readonly string[];
  readonly #free: number[];

  /**
   * @param ids device ids as CUDA_VISIBLE_DEVICES takes them
   * @param share what is had of each: all of it, or the share that a bundle was given
   */
  constructor(ids: readonly string[], share = UNITS) {
    this.#ids = ids;
    this.#free = ids.map(() => share);
  }

  /** @returns the devices for that many units, or undefined when no fitting devices are free */
  take(units: number): string[] | undefined {
    if (units === 0) return [];
    if (units < UNITS) {
      // The fullest device that still fits: fractions pack.
      let best = -1;
      this.#free.forEach((free, i) => {
        if (free >= units && (best < 0 || free < (this.#free[best] as number))) best = i;
      });
      if (best < 0) return undefined;
      this.#free[best] = (this.#free[best] as number) - units;
      return [this.#ids[best] as string];
    }
    const whole = this.#free.flatMap((free, i) => (free === UNITS ? [i] : [])).slice(0, units / UNITS);
    if (whole.length * UNITS < units) return undefined;
    for (const i of whole) this.#free[i] = 0;
    return whole.map((i) => this.#ids[i] as string);
  }

  give(ids: readonly string[], units: number): void {
    for (const id of ids) {
      const i = this.#ids.indexOf(id);
      if (i >= 0) this.#free[i] = (this.#free[i] as number) + Math.min(units, UNITS);
    }
  }
}
