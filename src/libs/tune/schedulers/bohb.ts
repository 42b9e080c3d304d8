/**
 * HyperBand as BOHB uses it (Falkner, Klein and Hutter, ICML 2018): the bracket with the most trials first, so that the
 * model has results of the smallest budget early.
 */
import { HyperBand } from "./hyperband.ts";

/** HyperBand for the BOHB searcher. */
export class HyperBandForBOHB extends HyperBand {
  override readonly name = "HyperBandForBOHB";

  override table(): readonly { readonly size: number; readonly milestone: number }[] {
    return [...super.table()].reverse();
  }
}
