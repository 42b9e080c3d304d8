/**
 * Names that a file may assign to after their first value, told by its text alone and for the whole file: a name that is
 * not among them keeps its first value wherever it is declared. A name too many costs time, one too few a wrong result.
 */
import { patternNames } from "./free-variables.ts";
import { childrenOf, type SyntaxNode } from "./parse.ts";

/** Every name may be assigned to. */
export const EVERYTHING = { has: () => true } as unknown as ReadonlySet<string>;

export function assignedNames(program: SyntaxNode): ReadonlySet<string> {
  const reader = new Reader();
  try {
    reader.read(program, { isLoop: false, isBlock: false });
  } catch (error) {
    if (error instanceof RangeError) return EVERYTHING; // nested too deeply
    throw error;
  }
  return reader.names();
}

interface Place {
  /** In a loop of the same function: a `var` there is the same variable each time. */
  readonly isLoop: boolean;
  /** In a block: a function declared there may overwrite a variable outside (Annex B of ECMAScript). */
  readonly isBlock: boolean;
}

class Reader {
  readonly #assigned = new Set<string>();
  /** Declared by `var`, as a function, or as a parameter, which may be the same variable. */
  readonly #declared = new Map<string, number>();
  readonly #parameters = new Set<string>();
  #hasArguments = false;
  #isKnown = true;

  names(): ReadonlySet<string> {
    if (!this.#isKnown) return EVERYTHING;
    for (const [name, times] of this.#declared)
      if (times > 1 || this.#parameters.has(name)) this.#assigned.add(name);
    // `arguments[0] = x` assigns to the first parameter.
    if (this.#hasArguments) for (const name of this.#parameters) this.#assigned.add(name);
    return this.#assigned;
  }

  read(node: SyntaxNode, place: Place): void {
    let inner = place;
    switch (node.type) {
      case "AssignmentExpression":
        this.#assign(node.left);
        break;
      case "UpdateExpression":
        this.#assign(node.argument);
        break;
      case "ForInStatement":
      case "ForOfStatement":
        this.#head(node.left as SyntaxNode);
        inner = { isLoop: true, isBlock: true };
        break;
      case "ForStatement":
      case "WhileStatement":
      case "DoWhileStatement":
        inner = { isLoop: true, isBlock: true };
        break;
      case "BlockStatement":
      case "SwitchStatement":
        inner = { ...place, isBlock: true };
        break;
      case "VariableDeclaration":
        if (node.kind === "var") this.#var(node, place);
        break;
      case "FunctionDeclaration":
        this.#declare(node.id as SyntaxNode | null);
        if (place.isBlock) this.#assign(node.id);
        break;
      case "Identifier":
        if (node.name === "arguments") this.#hasArguments = true;
        break;
      case "WithStatement":
        this.#isKnown = false;
        break;
      case "CallExpression":
        if ((node.callee as SyntaxNode).name === "eval") this.#isKnown = false;
        break;
    }
    if (Array.isArray(node.params)) {
      for (const param of node.params as readonly SyntaxNode[])
        for (const name of patternNames(param)) this.#parameters.add(name);
      const body = node.body as SyntaxNode;
      // The body of a function is none of the blocks in it.
      for (const child of childrenOf(node))
        if (child === body && body.type === "BlockStatement")
          for (const each of childrenOf(body)) this.read(each, { isLoop: false, isBlock: false });
        else this.read(child, { isLoop: false, isBlock: false });
      return;
    }
    for (const child of childrenOf(node)) this.read(child, inner);
  }

  #assign(target: unknown): void {
    if (target === null || target === undefined) return;
    for (const name of patternNames(target as SyntaxNode)) this.#assigned.add(name);
  }

  /** What is written between `for (` and `of`. */
  #head(left: SyntaxNode): void {
    if (left.type !== "VariableDeclaration") this.#assign(left);
    else if (left.kind === "var")
      for (const { id } of left.declarations as readonly SyntaxNode[]) this.#assign(id);
  }

  #var({ declarations }: SyntaxNode, { isLoop }: Place): void {
    for (const { id, init } of declarations as readonly SyntaxNode[]) {
      this.#declare(id as SyntaxNode);
      if (isLoop && init !== null) this.#assign(id);
    }
  }

  #declare(target: SyntaxNode | null): void {
    if (target === null) return;
    for (const name of patternNames(target)) this.#declared.set(name, (this.#declared.get(name) ?? 0) + 1);
  }
}
