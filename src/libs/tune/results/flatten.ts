/** Nested metrics and configurations as flat ones, "a/b" for `{ a: { b } }`. */

export function flatten(value: Readonly<Record<string, unknown>>, prefix = ""): Record<string, unknown> {
  const flat: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value)) {
    const path = `${prefix}${key}`;
    if (isPlain(item)) Object.assign(flat, flatten(item, `${path}/`));
    else flat[path] = item;
  }
  return flat;
}

/** Only what is a number. */
export function flattenNumbers(
  value: Readonly<Record<string, unknown>>,
  prefix = "",
): Record<string, number> {
  const flat: Record<string, number> = {};
  for (const key in value) {
    const item = value[key];
    if (typeof item === "number") flat[prefix + key] = item;
    else if (isPlain(item)) Object.assign(flat, flattenNumbers(item, `${prefix}${key}/`));
  }
  return flat;
}

/** The value at "a/b", or under a key that is called so. */
export function valueAt(value: Readonly<Record<string, unknown>>, path: string): unknown {
  if (Object.hasOwn(value, path)) return value[path];
  let at: unknown = value;
  for (const key of path.split("/")) {
    if (!isPlain(at) || !Object.hasOwn(at, key)) return undefined;
    at = at[key];
  }
  return at;
}

export function isPlain(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const proto = Object.getPrototypeOf(value) as object | null;
  return proto === Object.prototype || proto === null;
}
