/** Goal: no two objects of an owner have the same number, however long a stream is. */
import { expect, test } from "vitest";
import { newStreamSeq, objectKey, STREAM_ITEMS_MAX } from "./ids.ts";

test("streams have room for all their items, in numbers and in keys", () => {
  const [first, second] = [newStreamSeq(), newStreamSeq()];
  expect(second - first).toBe(STREAM_ITEMS_MAX);
  expect(Number.isSafeInteger(second + STREAM_ITEMS_MAX)).toBe(true);
  const keys = [first, first + 2 ** 20, second - 1, second].map((seq) =>
    objectKey("0123456789abcdef", seq).toString("hex"),
  );
  expect(new Set(keys).size).toBe(4);
});
