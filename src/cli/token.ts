/** `tsray token`: a new cluster token on standard output. */
import { makeToken } from "../core/base/token.ts";

export function token(): void {
  console.log(makeToken());
}
