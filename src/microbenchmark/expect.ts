/** What a row says of a wrong result. */

export function expectEqual(actual: unknown, expected: unknown): void {
  if (actual !== expected) throw new Error(`wrong result: ${String(actual)} instead of ${String(expected)}`);
}
