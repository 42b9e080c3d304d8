/** Results in saved state: JSON has no infinities and no NaN, so those are written as words. */

export type JsonNumber = number | string;

export function toJson(values: readonly number[] | undefined): JsonNumber[] | null {
  return values?.map((x) => (Number.isFinite(x) ? x : String(x))) ?? null;
}

export function fromJson(values: readonly JsonNumber[] | null): number[] | undefined {
  return values?.map(Number);
}
