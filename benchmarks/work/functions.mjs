// What workers of the sides in JavaScript run in the groups "efficiency" and "jobs": each job's loops in C, the same
// library as the sides in Python call, and once more as they are written in JavaScript.
export {
  chiSquared as chiSquaredInJavaScript,
  ok,
  orbit as orbitInJavaScript,
  periodogram as periodogramInJavaScript,
  spin,
} from "./arithmetic.mjs";
export { chiSquared, orbit, periodogram } from "./compiled.mjs";
