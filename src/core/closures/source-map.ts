/**
 * Stack traces of functions whose file was transformed in a way that the other side cannot know (a test runner's): their
 * definition brings a source map of its own, made from that of the whole file.
 */
import { SourceMap, type SourceMapPayload } from "node:module";
import type { Script } from "../base/inspector.ts";
import { forEachNode, type SyntaxNode } from "./parse.ts";

/** Where a text lies in the file that V8 compiled, and where it lies in the code of its definition. */
export interface TextPlace {
  readonly text: string;
  readonly line: number;
  readonly column: number;
  /** Columns of the definition's first line before the text. */
  readonly before: number;
}

const INLINE = /^data:application\/json[^,]*;base64,/;
const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/** @returns a source map as JSON, relative to the line on which the definition's code begins; "" where there is none */
export function sourceMapOf(root: SyntaxNode, place: TextPlace, { sourceMapUrl, url }: Script): string {
  if (!INLINE.test(sourceMapUrl)) return "";
  let map: SourceMap;
  try {
    const json = Buffer.from(sourceMapUrl.replace(INLINE, ""), "base64").toString("utf8");
    map = new SourceMap(JSON.parse(json) as SourceMapPayload);
  } catch {
    return "";
  }
  const lineStarts = [0, ...[...place.text.matchAll(/\n/g)].map(({ index }) => index + 1)];
  const lines: Map<number, readonly [line: number, column: number]>[] = lineStarts.map(() => new Map());
  let source = "";
  forEachNode(root, ({ start }) => {
    if (start < 0) return;
    const row = lineStarts.findLastIndex((at) => at <= start);
    const column = start - (lineStarts[row] as number);
    const found = map.findEntry(place.line + row, row === 0 ? place.column + column : column);
    if (!("originalLine" in found)) return;
    source ||= found.originalSource;
    lines[row]?.set(row === 0 ? place.before + column : column, [found.originalLine, found.originalColumn]);
  });
  if (source === "") return "";
  const sources = [URL.canParse(source, url) ? new URL(source, url).href : source];
  return JSON.stringify({ version: 3, sources, names: [], mappings: encode(lines) });
}

/** What ends a script that is compiled with a map. */
export function mapComment(map: string): string {
  return `//# sourceMappingURL=data:application/json;base64,${Buffer.from(map).toString("base64")}`;
}

function encode(lines: readonly Map<number, readonly [line: number, column: number]>[]): string {
  let line = 0;
  let column = 0;
  return lines
    .map((segments) => {
      let generated = 0;
      return [...segments]
        .sort(([a], [b]) => a - b)
        .map(([at, [toLine, toColumn]]) => {
          const text = vlq(at - generated) + vlq(0) + vlq(toLine - line) + vlq(toColumn - column);
          generated = at;
          line = toLine;
          column = toColumn;
          return text;
        })
        .join(",");
    })
    .join(";");
}

/** Base64 digits of five bits, lowest first; the sign is the lowest bit. */
function vlq(value: number): string {
  let rest = value < 0 ? (-value << 1) | 1 : value << 1;
  let text = "";
  do {
    const digit = rest & 31;
    rest >>>= 5;
    text += DIGITS[rest > 0 ? digit | 32 : digit];
  } while (rest > 0);
  return text;
}
