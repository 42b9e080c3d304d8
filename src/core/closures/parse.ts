/**
 * Source text -> syntax tree. The parser (acorn) is loaded when the first function has to travel by value: processes
 * that never send one do not pay for it.
 */
import { createRequire } from "node:module";
import type * as acorn from "acorn";

/** A node of the tree; its fields depend on its type (ESTree). */
export interface SyntaxNode {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [field: string]: unknown;
}

let parser: typeof acorn | undefined;

function load(): typeof acorn {
  parser ??= createRequire(import.meta.url)("acorn") as typeof acorn;
  return parser;
}

/** How the text of a function can be evaluated: as an expression, or as the member of an object literal. */
export type Form = "expression" | "method" | "get" | "set";

export interface ParsedFunction {
  readonly form: Form;
  /** The function or class; of a method, the member it is. Positions count from the beginning of the text. */
  readonly node: SyntaxNode;
}

/** Everything that may stand around a function stands there for the parser too: it is told about by free-variables.ts. */
const LENIENT = {
  ecmaVersion: "latest",
  sourceType: "script",
  allowImportExportEverywhere: true,
  allowSuperOutsideMethod: true,
  allowHashBang: true,
  checkPrivateFields: false,
} as const;

/** @param text what `Function.prototype.toString` gives. @throws SyntaxError */
export function parseFunction(text: string): ParsedFunction {
  try {
    return { form: "expression", node: shifted(firstExpression(`(${text}\n)`)) };
  } catch (error) {
    const literal = methodLiteral(text);
    if (literal === undefined) throw error;
    const member = literal as unknown as { readonly kind: string };
    const form = member.kind === "get" || member.kind === "set" ? member.kind : "method";
    return { form, node: shifted(literal, 2) };
  }
}

/** A whole file. @throws SyntaxError */
export function parseScript(source: string, isModule: boolean): SyntaxNode {
  return load().parse(source, {
    ...LENIENT,
    sourceType: isModule ? "module" : "script",
    allowReturnOutsideFunction: true,
    allowAwaitOutsideFunction: true,
  }) as unknown as SyntaxNode;
}

function firstExpression(text: string): SyntaxNode {
  const program = load().parse(text, LENIENT) as unknown as { readonly body: readonly SyntaxNode[] };
  const [statement, ...more] = program.body;
  if (statement?.type !== "ExpressionStatement" || more.length > 0)
    throw new SyntaxError("not one expression");
  return statement.expression as SyntaxNode;
}

function methodLiteral(text: string): SyntaxNode | undefined {
  try {
    const object = firstExpression(`({${text}\n})`);
    const [member, ...more] = (object as unknown as { readonly properties: readonly SyntaxNode[] })
      .properties;
    return member !== undefined && more.length === 0 ? member : undefined;
  } catch {
    return undefined;
  }
}

/** Positions without what was put in front. */
function shifted(node: SyntaxNode, by = 1): SyntaxNode {
  forEachNode(node, (each) => {
    const mutable = each as { start: number; end: number };
    mutable.start -= by;
    mutable.end -= by;
  });
  return node;
}

/** Calls `visit` for a node and everything below it; shared nodes (shorthand properties) once. */
export function forEachNode(root: SyntaxNode, visit: (node: SyntaxNode) => void): void {
  const seen = new Set<SyntaxNode>();
  const stack = [root];
  for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
    if (seen.has(node)) continue;
    seen.add(node);
    visit(node);
    stack.push(...childrenOf(node));
  }
}

/** The nodes directly below, in no particular order. */
export function childrenOf(node: SyntaxNode): SyntaxNode[] {
  const children: SyntaxNode[] = [];
  for (const value of Object.values(node)) {
    if (isNode(value)) children.push(value);
    else if (Array.isArray(value)) for (const item of value) if (isNode(item)) children.push(item);
  }
  return children;
}

function isNode(value: unknown): value is SyntaxNode {
  return (
    typeof value === "object" && value !== null && typeof (value as { type?: unknown }).type === "string"
  );
}
