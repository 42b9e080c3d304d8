/**
 * Resource amounts: exact fractions, kept as integers of 1/10000.
 *
 * Names are Ray's: CPU, GPU, memory, object_store_memory, node:<id>, and whatever the user invents.
 */

/** Units in one whole of a resource. */
export const UNITS = 10_000;

/** Amount in units, by resource name. Absent means 0. */
export type Resources = Readonly<Record<string, number>>;

/** From whole numbers and fractions as users write them. The caller has checked them. */
export function toUnits(amounts: Readonly<Record<string, number>>): Record<string, number> {
  const units: Record<string, number> = {};
  for (const [name, amount] of Object.entries(amounts)) {
    const u = Math.round(amount * UNITS);
    if (u !== 0) units[name] = u;
  }
  return units;
}

/** To the form that users read. */
export function fromUnits(units: Resources): Record<string, number> {
  const amounts: Record<string, number> = {};
  for (const [name, u] of Object.entries(units)) amounts[name] = u / UNITS;
  return amounts;
}

/** Whether `available` covers every amount of `wanted`. */
export function fits(wanted: Resources, available: Resources): boolean {
  for (const name in wanted) if ((wanted[name] ?? 0) > (available[name] ?? 0)) return false;
  return true;
}

export function subtract(from: Record<string, number>, amounts: Resources): void {
  for (const name in amounts) from[name] = (from[name] ?? 0) - (amounts[name] ?? 0);
}

export function add(to: Record<string, number>, amounts: Resources): void {
  for (const name in amounts) to[name] = (to[name] ?? 0) + (amounts[name] ?? 0);
}

/** The names of which there is too little, with figures: "CPU (wants 2, 1 of 4 free)". */
export function describeMissing(wanted: Resources, available: Resources, total: Resources): string {
  return Object.keys(wanted)
    .filter((name) => (wanted[name] ?? 0) > (available[name] ?? 0))
    .map((name) => {
      const [w, a, t] = [wanted[name] ?? 0, available[name] ?? 0, total[name] ?? 0].map((u) => u / UNITS);
      return `${name} (wants ${w}, ${a} of ${t} free)`;
    })
    .join(", ");
}

/**
 * Utilisation of the node's most used resource once `extra` is taken too, from 0 to 1.
 * Memory-like resources count as others do; a resource that the node does not have is skipped, and so is what placement
 * groups have there: it counts as the node's own, which was set aside for them.
 */
export function criticalUtilisation(available: Resources, total: Resources, extra: Resources = {}): number {
  let worst = 0;
  for (const name in total) {
    const all = total[name] ?? 0;
    if (all <= 0 || name.startsWith("node:") || name.includes("_group_")) continue;
    const used = all - (available[name] ?? 0) + (extra[name] ?? 0);
    if (used / all > worst) worst = used / all;
  }
  return worst;
}

/** A string that equal amounts share. */
export function resourcesKey(amounts: Resources): string {
  return Object.keys(amounts)
    .sort()
    .map((name) => `${name}=${amounts[name]}`)
    .join(",");
}
