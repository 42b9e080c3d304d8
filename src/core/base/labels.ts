/**
 * Node labels and what is asked of them: how they are written, what a selector means, whether a node fits it.
 *
 * Ray's syntax: `{ zone: "a" }`, `"!a"`, `"in(a,b)"`, `"!in(a,b)"`. All entries must hold; a node without the label fits
 * the negated ones only. Pure.
 */

/** What one label of a node must be: one of `values`, or none of them where negated. */
export interface LabelTerm {
  readonly key: string;
  readonly negated: boolean;
  readonly values: readonly string[];
}

export type Labels = Readonly<Record<string, string>>;

/** Labels that tsray gives nodes by itself begin with this. */
export const OWN_LABELS = "tsray.io/";
/** The kind of GPU that the node has. The one label of ours that users may give: a machine may not tell. */
export const ACCELERATOR_LABEL = `${OWN_LABELS}accelerator-type`;

const NAME = "[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?";
const KEY = new RegExp(`^(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?/)?${NAME}$`);
const VALUE = new RegExp(`^(?:${NAME})?$`);
const SELECTOR = /^(!?)(?:in\(([^()]*)\)|([^()!]*))$/;

export const LABEL_KEY_TAKES =
  "1 to 63 letters, digits, '.', '_' or '-', first and last a letter or digit, with an optional prefix as in example.com/";
export const LABEL_VALUE_TAKES =
  "at most 63 letters, digits, '.', '_' or '-', first and last a letter or digit";

export const isLabelKey = (key: string): boolean => KEY.test(key);
export const isLabelValue = (value: unknown): value is string =>
  typeof value === "string" && VALUE.test(value);

/** @returns the term, or undefined when the text is no selector */
export function parseTerm(key: string, text: string): LabelTerm | undefined {
  const found = SELECTOR.exec(text.trim());
  if (found === null) return undefined;
  const [, not, list, single] = found;
  const values = list === undefined ? [(single ?? "").trim()] : list.split(",").map((value) => value.trim());
  if (!values.every(isLabelValue) || (list !== undefined && values.includes(""))) return undefined;
  return { key, negated: not === "!", values };
}

/** Whether a node with these labels fits all terms. */
export function fitsLabels(terms: readonly LabelTerm[], labels: Labels): boolean {
  for (const { key, negated, values } of terms) {
    const has = Object.hasOwn(labels, key) && values.includes(labels[key] as string);
    if (has === negated) return false;
  }
  return true;
}

/** As it is written, for messages: "zone=in(a,b), disk=!ssd". */
export function describeTerms(terms: readonly LabelTerm[]): string {
  return terms
    .map(({ key, negated, values }) => {
      const [only] = values;
      return `${key}=${negated ? "!" : ""}${values.length === 1 ? only : `in(${values.join(",")})`}`;
    })
    .join(", ");
}
