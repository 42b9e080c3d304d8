// The loops of arithmetic.c for the sides in JavaScript, as WebAssembly.
import { readFileSync } from "node:fs";

const ALIGNMENT = 16;

let loaded;

function load() {
  const file = process.env.BENCH_ARITHMETIC_WASM;
  if (!file)
    throw new Error("the loops could not be compiled to WebAssembly: see what stands below the table");
  let heap = 0;
  // One function runs at a time, and each asks for memory once.
  const env = { cos: Math.cos, sin: Math.sin, fmod: (a, b) => a % b, malloc: () => heap, free: () => {} };
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(file)), { env });
  heap = Math.ceil(exports.__heap_base.value / ALIGNMENT) * ALIGNMENT;
  return exports;
}

function compiled() {
  loaded ??= load();
  return loaded;
}

export const orbit = (seed, steps) => compiled().orbit(seed, steps);
export const periodogram = (seed, points, frequencies) => compiled().periodogram(seed, points, frequencies);
export const chiSquared = (index, points) => compiled().chi_squared(index, points);
