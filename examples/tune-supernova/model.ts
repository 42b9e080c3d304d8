// The model: light rises, falls fast, then decays slowly, sooner in blue than in red.
import { BANDS, type Band, type LightCurve, type Point, WAVELENGTH } from "./light-curve.ts";

/** What the search is about. How bright each part is in each band follows from it by linear least squares. */
export interface Shape {
  /** Days from the published maximum to the middle of the rise, in the r band. */
  readonly start: number;
  /** How much later each band rises: days per 100 nm. */
  readonly delay: number;
  /** Time scales in days. */
  readonly rise: number;
  readonly fall: number;
  readonly tail: number;
  /** fall ~ wavelength to this power. */
  readonly colour: number;
}

/** Beside the measured uncertainty: what such a simple shape cannot follow. */
const MODEL_ERROR = 0.05;

/** Squared deviations in units of the uncertainty, per degree of freedom. */
export function chiSquared(shape: Shape, curve: LightCurve): number {
  let sum = 0;
  let count = 0;
  for (const band of BANDS) {
    const expected = fitBand(shape, band, curve);
    for (const point of curve.bands[band])
      sum += ((point.flux - expected(point.day)) / uncertainty(point)) ** 2;
    count += curve.bands[band].length;
  }
  const parameters = Object.keys(shape).length + 2 * BANDS.length;
  return sum / (count - parameters);
}

/** The flux of a band by day: brightnesses of burst and tail as least squares has them, none below zero. */
export function fitBand(shape: Shape, band: Band, curve: LightCurve): (day: number) => number {
  const fallDays = shape.fall * (WAVELENGTH[band] / WAVELENGTH.r) ** shape.colour;
  const origin =
    curve.publishedMaximum + shape.start + (shape.delay * (WAVELENGTH[band] - WAVELENGTH.r)) / 100;
  const parts = (day: number): readonly [number, number] => {
    const since = day - origin;
    const risen = 1 / (1 + Math.exp(-since / shape.rise));
    return [risen * Math.exp(-since / fallDays), risen * Math.exp(-since / shape.tail)];
  };
  let [aa, ab, bb, ay, by] = [0, 0, 0, 0, 0];
  for (const point of curve.bands[band]) {
    const weight = uncertainty(point) ** -2;
    const [a, b] = parts(point.day);
    aa += weight * a * a;
    ab += weight * a * b;
    bb += weight * b * b;
    ay += weight * a * point.flux;
    by += weight * b * point.flux;
  }
  const determinant = aa * bb - ab * ab;
  let burst = (ay * bb - by * ab) / determinant;
  let tail = (by * aa - ay * ab) / determinant;
  if (!(tail >= 0)) [burst, tail] = [ay / aa, 0];
  if (!(burst >= 0)) [burst, tail] = [0, by / bb];
  return (day) => {
    const [a, b] = parts(day);
    return burst * a + tail * b;
  };
}

function uncertainty({ flux, error }: Point): number {
  return Math.hypot(error, MODEL_ERROR * flux);
}
