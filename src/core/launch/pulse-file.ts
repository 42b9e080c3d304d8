/**
 * The file in which a raylet shows its workers that it moves: a count that it keeps raising (src/raylet/pulse.ts), and
 * that each of them watches (src/worker/watch-pulse.ts).
 */

/** The count, in the byte order of the machine. */
export const PULSE_BYTES = 8;
