/**
 * Which head this node obeys: the latest start it has heard of. An earlier one that still runs somewhere (it was paused,
 * or cut off) is refused, whatever it commands. Pure.
 */
export class HeadEpoch {
  #clusterId = "";
  #epoch = 0;

  /** 0 until a head has answered. */
  get latest(): number {
    return this.#epoch;
  }

  /** A head has answered the registration. @returns why it is none to obey */
  registered(clusterId: string, epoch: number): string | undefined {
    if (this.#clusterId !== "" && clusterId !== this.#clusterId)
      return `the head belongs to another cluster (${clusterId}, not ${this.#clusterId})`;
    const stale = this.refusal(epoch);
    if (stale === undefined) {
      this.#clusterId = clusterId;
      this.#epoch = epoch;
    }
    return stale;
  }

  /** A command has come with that epoch; undefined: it is no head's. @returns why it is refused */
  refusal(epoch: number | undefined): string | undefined {
    if (epoch === undefined || epoch >= this.#epoch) return undefined;
    return `the head of epoch ${epoch} was replaced by that of epoch ${this.#epoch}`;
  }

  /** Whether the answer is that of a head with other tables: the cluster that this node belonged to is gone. */
  isForeign(clusterId: string): boolean {
    return this.#clusterId !== "" && clusterId !== this.#clusterId;
  }
}
