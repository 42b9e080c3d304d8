/** The errors that Tune throws and meets: classes of tsray's table, taken at the public door. */
export {
  FunctionNotFoundError,
  InvalidOptionError,
  SerializationError,
  TuneError,
  UnschedulableError,
} from "../../index.ts";
