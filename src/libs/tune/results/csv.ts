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
  const names: string[] = [];
  for (let at = 0; line !== "" && at <= line.length; at++) {
    const quoted = /^"((?:[^"]|"")*)"/.exec(line.slice(at));
    const name = quoted?.[0] ?? /^[^,]*/.exec(line.slice(at))?.[0] ?? "";
    names.push(quoted === null ? name : (quoted[1] as string).replaceAll('""', '"'));
    at += name.length;
  }
  return names;
}
