/**
 * What this node has set aside for placement groups, part of the lease machine's ledger.
 *
 *   (nothing) --prepare--> prepared --commit--> committed --return--> closing --last user gone--> (nothing)
 *
 * Prepared: taken from the node, open to nobody. Committed: offered under the group's names (core/base/bundles.ts).
 * Closing: offered no more, and given back to the node once the last user is gone. The head numbers its attempts to place
 * a group; what comes late for an attempt that was returned is refused. Pure.
 */
import { type BundlePlace, bundleName, offeredBy, presenceName, takenAt } from "../../core/base/bundles.ts";
import { add, describeMissing, fits, type Resources, subtract } from "../../core/base/resources.ts";
import { GpuSlots } from "./gpu-slots.ts";

export interface Reservation {
  readonly groupId: string;
  readonly index: number;
  readonly attempt: number;
  readonly resources: Resources;
}

interface Bundle extends Reservation {
  readonly gpuIds: readonly string[];
  /** Its share of those devices, lent out. */
  readonly gpus: GpuSlots;
  stage: "prepared" | "committed" | "closing";
  /** A head has been told that it is here. */
  isReported: boolean;
}

/** A share of the node, or of a bundle, that a lease or an actor holds. */
export interface Share {
  /** As the ledger has them: of a group, under its names. */
  readonly resources: Resources;
  readonly gpuIds: readonly string[];
  /** The bundle it was taken from; undefined = the node itself. */
  readonly bundle: { readonly groupId: string; readonly index: number } | undefined;
}

/** Groups whose returned attempts are remembered. */
const RETURNED_MAX = 10_000;

export class Bundles {
  readonly #total: Record<string, number>;
  readonly #available: Record<string, number>;
  readonly #gpus: GpuSlots;
  readonly #bundles = new Map<string, Bundle>();
  /** Bundles of each group here. */
  readonly #byGroup = new Map<string, Set<Bundle>>();
  /** The latest attempt of each group that was returned: nothing up to it is taken in any more. */
  readonly #returned = new Map<string, number>();
  #closing = 0;
  /** Attempts below this are an earlier head's. */
  #firstAttempt = 0;

  /** @param total what the node has, and @param available what of it is free: the lease machine's own, kept up to date here */
  constructor(total: Record<string, number>, available: Record<string, number>, gpus: GpuSlots) {
    this.#total = total;
    this.#available = available;
    this.#gpus = gpus;
  }

  /** Sets the resources aside. A repeat gets the same answer. @returns why not, or undefined */
  prepare(reservation: Reservation): string | undefined {
    const { groupId, index, attempt, resources } = reservation;
    const known = this.#bundles.get(keyOf(reservation));
    if (known?.attempt === attempt && known.stage !== "closing") return undefined;
    // An attempt is over where a later one begins.
    if (known?.stage === "prepared" && known.attempt < attempt) this.#free(known);
    else if (known !== undefined)
      return `an earlier reservation of bundle ${index} has not been given back yet`;
    if (attempt <= (this.#returned.get(groupId) ?? -1)) return "it was returned before it came";
    if (attempt < this.#firstAttempt) return "the head that asked for it has been replaced";
    if (!fits(resources, this.#available))
      return `missing ${describeMissing(resources, this.#available, this.#total)}`;
    const units = resources.GPU ?? 0;
    const gpuIds = this.#gpus.take(units);
    if (gpuIds === undefined) return "no GPU has enough of it free";
    subtract(this.#available, resources);
    const gpus = new GpuSlots(gpuIds, gpuIds.length === 0 ? 0 : units / gpuIds.length);
    const bundle: Bundle = {
      groupId,
      index,
      attempt,
      resources,
      gpuIds,
      gpus,
      stage: "prepared",
      isReported: false,
    };
    this.#bundles.set(keyOf(bundle), bundle);
    const group = this.#byGroup.get(groupId);
    if (group === undefined) this.#byGroup.set(groupId, new Set([bundle]));
    else group.add(bundle);
    return undefined;
  }

  /** Opens a prepared bundle. A repeat gets the same answer. @returns why not, or undefined */
  commit(reservation: Pick<Reservation, "groupId" | "index" | "attempt">): string | undefined {
    const bundle = this.#bundles.get(keyOf(reservation));
    if (bundle?.attempt !== reservation.attempt || bundle.stage === "closing")
      return "it is not reserved here (any more)";
    if (bundle.stage === "committed") return undefined;
    bundle.stage = "committed";
    const offered = offeredBy(bundle.resources, bundle.groupId, bundle.index);
    add(this.#total, offered);
    add(this.#available, offered);
    return undefined;
  }

  /**
   * Takes what is reserved for the group under that attempt (`earlier`: or an earlier one) away from it, and remembers
   * that nothing of it is to come. Who uses it is still to be ended.
   */
  close(groupId: string, attempt: number, earlier: boolean): void {
    this.#returned.set(groupId, Math.max(attempt, this.#returned.get(groupId) ?? -1));
    if (this.#returned.size > RETURNED_MAX) {
      const [oldest] = this.#returned.keys();
      this.#returned.delete(oldest as string);
    }
    for (const bundle of [...(this.#byGroup.get(groupId) ?? [])]) {
      const isMeant = earlier ? bundle.attempt <= attempt : bundle.attempt === attempt;
      if (!isMeant || bundle.stage === "closing") continue;
      if (bundle.stage === "prepared") {
        this.#free(bundle);
        continue;
      }
      bundle.stage = "closing";
      this.#closing += 1;
      const offered = offeredBy(bundle.resources, groupId, bundle.index);
      subtract(this.#total, offered);
      subtract(this.#available, offered);
    }
    this.settle();
  }

  /** Gives the node back what closing bundles had, where nobody uses them any more. Call it when a share was given back. */
  settle(): void {
    if (this.#closing === 0) return;
    for (const bundle of this.#bundles.values()) {
      if (bundle.stage !== "closing") continue;
      if ((this.#available[presenceName(bundle.groupId, bundle.index)] ?? 0) < 0) continue;
      this.#closing -= 1;
      this.#free(bundle);
      for (const name in offeredBy(bundle.resources, bundle.groupId, bundle.index)) {
        if (this.#total[name] !== 0 || this.#available[name] !== 0) continue;
        delete this.#total[name];
        delete this.#available[name];
      }
    }
  }

  /**
   * Takes a share: of the node, or of a bundle of the group that has it free (`resources` as the user asked for them).
   * @returns undefined when there is none
   */
  take(resources: Resources, place: BundlePlace): Share | undefined {
    if (place.groupId === "") return this.#takeFrom(this.#gpus, resources, resources.GPU ?? 0, undefined);
    for (const bundle of this.#byGroup.get(place.groupId) ?? []) {
      if (bundle.stage !== "committed" || (place.bundle >= 0 && place.bundle !== bundle.index)) continue;
      const { groupId, index } = bundle;
      const taken = takenAt(resources, { groupId, bundle: index });
      const share = this.#takeFrom(bundle.gpus, taken, resources.GPU ?? 0, { groupId, index });
      if (share !== undefined) return share;
    }
    return undefined;
  }

  /** Whether {@link take} would give a share now. */
  has(resources: Resources, place: BundlePlace): boolean {
    const share = this.take(resources, place);
    if (share !== undefined) this.give(share);
    return share !== undefined;
  }

  give({ resources, gpuIds, bundle }: Share): void {
    add(this.#available, resources);
    const gpus = bundle === undefined ? this.#gpus : this.#bundles.get(keyOf(bundle))?.gpus;
    gpus?.give(gpuIds, resources[gpuOf(bundle)] ?? 0);
    if (bundle !== undefined) this.settle();
  }

  /**
   * A head was told what is {@link held}, and its own attempts begin at `firstAttempt`: of earlier ones nothing is taken in
   * any more, and what has come since it was told goes.
   */
  fence(firstAttempt: number): void {
    this.#firstAttempt = Math.max(firstAttempt, this.#firstAttempt);
    for (const bundle of [...this.#bundles.values()]) {
      if (bundle.stage === "prepared" && bundle.attempt < firstAttempt && !bundle.isReported)
        this.#free(bundle);
    }
  }

  /** All that is set aside here and not on its way out, for a head that has to know. */
  held(): { groupId: string; index: number; attempt: number; committed: boolean }[] {
    const held = [...this.#bundles.values()].filter(({ stage }) => stage !== "closing");
    for (const bundle of held) bundle.isReported = true;
    return held.map(({ groupId, index, attempt, stage }) => ({
      groupId,
      index,
      attempt,
      committed: stage === "committed",
    }));
  }

  /** What the node has given to groups, in its own names. */
  setAside(): Resources {
    const sum: Record<string, number> = {};
    for (const { resources } of this.#bundles.values()) add(sum, resources);
    return sum;
  }

  #takeFrom(gpus: GpuSlots, taken: Resources, units: number, bundle: Share["bundle"]): Share | undefined {
    if (!fits(taken, this.#available)) return undefined;
    const gpuIds = gpus.take(units);
    if (gpuIds === undefined) return undefined;
    subtract(this.#available, taken);
    return { resources: taken, gpuIds, bundle };
  }

  #free(bundle: Bundle): void {
    this.#bundles.delete(keyOf(bundle));
    const group = this.#byGroup.get(bundle.groupId);
    group?.delete(bundle);
    if (group?.size === 0) this.#byGroup.delete(bundle.groupId);
    add(this.#available, bundle.resources);
    this.#gpus.give(bundle.gpuIds, bundle.resources.GPU ?? 0);
  }
}

function gpuOf(bundle: Share["bundle"]): string {
  return bundle === undefined ? "GPU" : bundleName("GPU", bundle.groupId, bundle.index);
}

const keyOf = ({ groupId, index }: { readonly groupId: string; readonly index: number }): string =>
  `${groupId}/${index}`;
