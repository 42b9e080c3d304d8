// What the threads of a piscina run: a trivial function, and those of the groups "efficiency" and "jobs" with a list of arguments.
import * as work from "../work/functions.mjs";

export default work.ok;
export const orbit = (args) => work.orbit(...args);
export const orbitInJavaScript = (args) => work.orbitInJavaScript(...args);
export const periodogram = (args) => work.periodogram(...args);
export const periodogramInJavaScript = (args) => work.periodogramInJavaScript(...args);
export const chiSquared = (args) => work.chiSquared(...args);
export const chiSquaredInJavaScript = (args) => work.chiSquaredInJavaScript(...args);
export const spin = (args) => work.spin(...args);
