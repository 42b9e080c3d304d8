// The loops of arithmetic.c for the sides in JavaScript: the library that the sides in Python have, called by koffi.
import { createRequire } from "node:module";

let loaded;

function load() {
  const library = createRequire(process.env.BENCH_PACKAGES)("koffi").load(process.env.BENCH_ARITHMETIC);
  return {
    orbit: library.func("double orbit(int, int)"),
    periodogram: library.func("double periodogram(int, int, int)"),
    chiSquared: library.func("double chi_squared(int, int)"),
  };
}

function compiled() {
  loaded ??= load();
  return loaded;
}

export const orbit = (seed, steps) => compiled().orbit(seed, steps);
export const periodogram = (seed, points, frequencies) => compiled().periodogram(seed, points, frequencies);
export const chiSquared = (index, points) => compiled().chiSquared(index, points);
