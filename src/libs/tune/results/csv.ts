/** CSV as RFC 4180 has it. */

export function csvLine(values: readonly unknown[]): string {
  return `${values.map(cell).join(",")}\n`;
}

function cell(value: unknown): string {
  if (value === undefined || value === null) return "";
  const text = typeof value === "object" ? JSON.stringify(value) : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** The columns of a file. */
export function header(text: string): string[] {
  const line = text.slice(0, Math.max(0, text.indexOf("\n")));
  return [...line.matchAll(/("(?:[^"]|"")*"|[^,]*)(?:,|$)/g)]
    .map(([, name = ""]) => (name.startsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name))
    .slice(0, line === "" ? 0 : line.split("").filter((c) => c === ",").length + 1);
}
