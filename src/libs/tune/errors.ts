/** The errors that Tune throws: classes of tsray's table, taken at the public door. */
export { InvalidOptionError, TuneError, UnschedulableError } from "../../index.ts";
