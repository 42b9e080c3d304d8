// The measurements: a light curve as the Supernova Legacy Survey published it.
import { readFileSync } from "node:fs";
import { join } from "node:path";

/** One night's flux in one filter, with its uncertainty. */
export interface Point {
  /** Modified Julian date. */
  readonly day: number;
  readonly flux: number;
  readonly error: number;
}

export interface LightCurve {
  readonly name: string;
  readonly redshift: number;
  /** When it was brightest in blue light of its own, as the survey's fit with a spectral template has it. */
  readonly publishedMaximum: number;
  /** Filters of MegaCam, blue to red. */
  readonly bands: Readonly<Record<Band, readonly Point[]>>;
}

export const BANDS = ["g", "r", "i", "z"] as const;
export type Band = (typeof BANDS)[number];

/** Mean wavelengths in nanometres. */
export const WAVELENGTH: Readonly<Record<Band, number>> = { g: 487, r: 626, i: 769, z: 885 };

/** "@NAME value" lines, then rows "date flux error zero-point filter system". Fluxes are brought to one zero-point. */
export function readLightCurve(): LightCurve {
  const header = new Map<string, string>();
  const bands: Record<Band, Point[]> = { g: [], r: [], i: [], z: [] };
  for (const line of readFileSync(join(import.meta.dirname, "lc-03D4ag.list"), "utf8").split("\n")) {
    const [first = "", ...rest] = line.trim().split(/\s+/);
    if (first.startsWith("@")) header.set(first.slice(1), rest[0] as string);
    else if (/^\d/.test(first)) {
      const [flux, error, zeroPoint, filter] = rest as [string, string, string, string];
      const scale = 10 ** (0.4 * (27 - Number(zeroPoint)));
      bands[filter.at(-1) as Band].push({
        day: Number(first),
        flux: scale * Number(flux),
        error: scale * Number(error),
      });
    }
  }
  return {
    name: `SN 20${header.get("SN")}`,
    redshift: Number(header.get("Redshift")),
    publishedMaximum: Number(header.get("DayMax")),
    bands,
  };
}
