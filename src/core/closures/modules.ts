/**
 * What a file imports and exports, read from the text that V8 compiled (so after TypeScript, bundlers and test runners),
 * for variables that must travel as imports instead of copies.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Script } from "../base/inspector.ts";
import { assignedNames, EVERYTHING } from "./assigned.ts";
import { childrenOf, forEachNode, parseScript, type SyntaxNode } from "./parse.ts";

/** How another process gets at the value of a variable. */
export interface ImportRef {
  /**
   * import: what `import()` gives. require: what `require()` gives. interop, interop-node: that, wrapped as compilers
   * wrap CommonJS for `import` (node: `default` is always the whole). builtin: a module of Node. own: tsray itself.
   * meta, dynamic, and require without a specifier: the file's own `import.meta`, `import` and `require`.
   */
  readonly form: "import" | "require" | "interop" | "interop-node" | "builtin" | "own" | "meta" | "dynamic";
  /** As it was written. */
  readonly specifier: string;
  /** URL of the file where it was written: what it is relative to. */
  readonly parent: string;
  /** An export's name; null = all of it. */
  readonly name: string | null;
}

export interface ModuleFacts {
  /** By the name that the file gives it. */
  readonly imports: ReadonlyMap<string, ImportRef>;
  /** Exported name by the name in the file. */
  readonly exports: ReadonlyMap<string, string>;
  /** A CommonJS file says "use strict" at its top. */
  readonly isStrict: boolean;
  /** Names that are assigned to anywhere but where they are declared. Every other variable keeps its first value. */
  readonly assigned: ReadonlySet<string>;
}

const NOTHING: Omit<ModuleFacts, "assigned"> = { imports: new Map(), exports: new Map(), isStrict: false };
/** How deep below functions imports are looked for: loaders wrap modules in one, the REPL in two. */
const FUNCTION_DEPTH_MAX = 2;
/** What test runners on vite turn `import` into. */
const VITE_IMPORT = /^__(?:vite_ssr_(?:dynamic_)?import|vi_import)__$/;

const known = new WeakMap<Script, ModuleFacts>();

/** @param url what relative specifiers are relative to */
export function moduleFacts(script: Script, url: string): ModuleFacts {
  let facts = known.get(script);
  if (facts === undefined) {
    facts = read(script, url);
    known.set(script, facts);
  }
  return facts;
}

function read({ source, isModule }: Script, url: string): ModuleFacts {
  let program: SyntaxNode;
  try {
    program = parseScript(source, isModule);
  } catch {
    return { ...NOTHING, assigned: EVERYTHING }; // a language that the parser does not know: everything is captured by value
  }
  const imports = new Map<string, ImportRef>();
  const exports = new Map<string, string>();
  const add = (local: string, ref: Omit<ImportRef, "parent">) => imports.set(local, { ...ref, parent: url });
  const visit = (node: SyntaxNode, depth: number): void => {
    switch (node.type) {
      case "ImportDeclaration":
        readImport(node, add);
        return;
      case "ExportNamedDeclaration":
        readExport(node, exports);
        break;
      case "ExportDefaultDeclaration": {
        const declared = node.declaration as SyntaxNode;
        const id = declared.type === "Identifier" ? declared : (declared.id as SyntaxNode | null | undefined);
        if (id) exports.set(id.name as string, "default");
        break;
      }
      case "CallExpression":
        readViteExport(node, exports);
        break;
      case "VariableDeclarator":
        if (node.init !== null) readAssignment(node.id as SyntaxNode, node.init as SyntaxNode, add);
        break;
      case "AssignmentExpression":
        readAssignment(node.left as SyntaxNode, node.right as SyntaxNode, add);
        break;
    }
    const inner = /Function/.test(node.type) ? depth + 1 : depth;
    if (inner > FUNCTION_DEPTH_MAX) return;
    for (const child of childrenOf(node)) visit(child, inner);
  };
  visit(program, 0);
  const [first] = program.body as readonly SyntaxNode[];
  return { imports, exports, isStrict: first?.directive === "use strict", assigned: assignedNames(program) };
}

type Add = (local: string, ref: Omit<ImportRef, "parent">) => void;

function readImport(node: SyntaxNode, add: Add): void {
  const specifier = text(node.source);
  if (specifier === undefined) return;
  for (const each of node.specifiers as readonly SyntaxNode[]) {
    const local = (each.local as SyntaxNode).name as string;
    const name =
      each.type === "ImportNamespaceSpecifier"
        ? null
        : each.type === "ImportDefaultSpecifier"
          ? "default"
          : nameOf(each.imported as SyntaxNode);
    add(local, { form: "import", specifier, name });
  }
}

function readExport(node: SyntaxNode, exports: Map<string, string>): void {
  if (node.source !== null) return;
  for (const each of node.specifiers as readonly SyntaxNode[])
    exports.set(nameOf(each.local as SyntaxNode), nameOf(each.exported as SyntaxNode));
  const id = (node.declaration as SyntaxNode | null)?.id as SyntaxNode | undefined;
  if (id) exports.set(id.name as string, id.name as string);
}

/** `__vite_ssr_exportName__("name", () => { try { return local } catch {} })` */
function readViteExport(node: SyntaxNode, exports: Map<string, string>): void {
  if ((node.callee as SyntaxNode).name !== "__vite_ssr_exportName__") return;
  const [name, getter] = node.arguments as readonly SyntaxNode[];
  const exported = text(name);
  if (exported === undefined || getter === undefined) return;
  forEachNode(getter, ({ type, argument }) => {
    const local = argument as SyntaxNode | null | undefined;
    if (type === "ReturnStatement" && local?.type === "Identifier")
      exports.set(local.name as string, exported);
  });
}

/** `const x = require("y")`, `const { a } = await import("y")`, and what compilers make of `import`. */
function readAssignment(target: SyntaxNode, init: SyntaxNode, add: Add): void {
  const source = importedBy(init);
  if (source === undefined) return;
  if (target.type === "Identifier") add(target.name as string, { ...source, name: null });
  if (target.type !== "ObjectPattern" || source.form.startsWith("interop")) return;
  for (const property of target.properties as readonly SyntaxNode[]) {
    const value = property.value as SyntaxNode | undefined;
    if (property.type !== "Property" || property.computed === true || value?.type !== "Identifier") continue;
    add(value.name as string, { ...source, name: nameOf(property.key as SyntaxNode) });
  }
}

function importedBy(init: SyntaxNode): Pick<ImportRef, "form" | "specifier"> | undefined {
  if (init.type === "AwaitExpression") {
    const call = init.argument as SyntaxNode;
    if (call.type === "ImportExpression") return specifierOf("import", text(call.source));
    const [source] = (call.arguments ?? []) as readonly SyntaxNode[];
    if (call.type === "CallExpression" && VITE_IMPORT.test(String((call.callee as SyntaxNode).name)))
      return specifierOf("import", viteFile(text(source)));
    return undefined;
  }
  if (init.type !== "CallExpression") return undefined;
  const required = requiredBy(init);
  if (required !== undefined) return specifierOf("require", required);
  const [inner, mode] = init.arguments as readonly SyntaxNode[];
  if ((init.callee as SyntaxNode).type !== "Identifier" || inner === undefined) return undefined;
  return specifierOf(mode === undefined ? "interop" : "interop-node", requiredBy(inner));
}

function requiredBy(node: SyntaxNode): string | undefined {
  if (node.type !== "CallExpression" || (node.callee as SyntaxNode).name !== "require") return undefined;
  return text((node.arguments as readonly SyntaxNode[])[0]);
}

function specifierOf(
  form: ImportRef["form"],
  specifier: string | undefined,
): Pick<ImportRef, "form" | "specifier"> | undefined {
  return specifier === undefined ? undefined : { form, specifier };
}

/** vite names files by their path below its root (taken to be the current directory), or by their whole path. */
export function viteFile<T extends string | undefined>(id: T): T | string {
  if (id === undefined || !id.startsWith("/")) return id;
  const path = id.replace(/^\/@fs(?=\/)/, "").replace(/\?.*$/, "");
  return pathToFileURL(existsSync(path) ? path : join(process.cwd(), path)).href;
}

function text(node: unknown): string | undefined {
  const { type, value } = (node ?? {}) as { readonly type?: string; readonly value?: unknown };
  return type === "Literal" && typeof value === "string" ? value : undefined;
}

function nameOf(node: SyntaxNode): string {
  return String(node.type === "Literal" ? node.value : node.name);
}
