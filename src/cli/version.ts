/** `tsray version`. */
import { tsrayVersion } from "../core/launch/version.ts";

export function version(): void {
  console.log(tsrayVersion());
}
