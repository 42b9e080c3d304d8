/** The error Tune throws for bad options; the same class that the rest of tsray throws, taken at the public door. */
export { InvalidOptionError } from "../../index.ts";
