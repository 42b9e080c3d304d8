/** How results look: one JSON document, or columns of text. Colour only on a terminal, and not with NO_COLOR. */

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, undefined, 2)}\n`);
}

/** A row's cells by column name. */
export type Row = Readonly<Record<string, unknown>>;

/** Columns as wide as their widest cell. Numbers stand to the right. */
export function printTable(columns: readonly string[], rows: readonly Row[]): void {
  const cells = rows.map((row) => columns.map((column) => show(row[column])));
  const titles = columns.map(titleOf);
  const widths = titles.map((title, i) =>
    Math.max(title.length, ...cells.map((line) => (line[i] ?? "").length)),
  );
  const isNumber = columns.map(
    (column) => rows.length > 0 && rows.every((row) => typeof row[column] === "number"),
  );
  const line = (texts: readonly string[]) =>
    texts
      .map((text, i) => (isNumber[i] ? text.padStart(widths[i] ?? 0) : text.padEnd(widths[i] ?? 0)))
      .join("  ")
      .trimEnd();
  console.log(bold(line(titles)));
  for (const texts of cells) console.log(line(texts));
}

export function bold(text: string): string {
  return hasColour() ? `\u001b[1m${text}\u001b[22m` : text;
}

export function red(text: string): string {
  return hasColour() ? `\u001b[31m${text}\u001b[39m` : text;
}

/** "1 CPU, 2 disk" */
export function showAmounts(amounts: Readonly<Record<string, number>>): string {
  return Object.entries(amounts)
    .map(([name, amount]) => `${showAmount(name, amount)} ${name}`)
    .join(", ");
}

export function showAmount(name: string, amount: number): string {
  return name === "memory" || name === "object_store_memory" ? showBytes(amount) : String(amount);
}

export function showBytes(bytes: number): string {
  let value = bytes;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (value < 1024) return `${unit === "B" ? value : value.toFixed(1)} ${unit}`;
    value /= 1024;
  }
  return `${value.toFixed(1)} TiB`;
}

function hasColour(): boolean {
  return process.stdout.isTTY === true && (process.env.NO_COLOR ?? "") === "";
}

function titleOf(column: string): string {
  return column.replace(/([A-Z])/g, " $1").toUpperCase();
}

/** Control characters would break the table, or worse, reach the terminal. */
function show(value: unknown): string {
  const text = typeof value === "object" && value !== null ? showObject(value) : String(value ?? "");
  return text.replace(/\p{Cc}+/gu, " ");
}

function showObject(value: object): string {
  return Object.entries(value)
    .map(([name, part]) => `${name}=${String(part)}`)
    .join(",");
}
