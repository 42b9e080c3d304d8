/**
 * Which variables a function uses and does not declare itself, and what else ties it to the place where it was written:
 * the `this` of an arrow function, `super`, private names, `import.meta`.
 *
 * Works on the syntax tree, with the scopes of the language: blocks, parameters apart from bodies, hoisting, class bodies.
 */
import { childrenOf, type ParsedFunction, type SyntaxNode } from "./parse.ts";

export interface FreeVariables {
  /** In order of first use. */
  readonly names: readonly string[];
  /** Names that it assigns to. */
  readonly assigned: ReadonlySet<string>;
  /** What it uses of the function around it: "this", "arguments", "new.target", "super"; private names as "#x". */
  readonly outer: ReadonlySet<string>;
  /** Where `import.meta` stands. */
  readonly metas: readonly SyntaxNode[];
  /** Whether it calls `import()`. */
  readonly imports: boolean;
}

/** Names of one scope. */
interface Names {
  readonly declared: Set<string>;
  readonly parent: Names | undefined;
}

/** What a piece of code belongs to. */
interface Owner {
  /** A function or class of the text around it gives it `this`, `arguments`, `new.target` and `super`. */
  readonly own: boolean;
  readonly privates: ReadonlySet<string>;
}

type Nodes = readonly (SyntaxNode | null)[];

/** @param skipped parts of the text that are left out when it is evaluated */
export function freeVariables({ form, node }: ParsedFunction, skipped: readonly SyntaxNode[]): FreeVariables {
  const walk = new Walk(new Set(skipped));
  const nowhere: Owner = { own: false, privates: new Set() };
  const top: Names = { declared: new Set(), parent: undefined };
  walk.visit(form === "expression" ? node : (node.value as SyntaxNode), top, nowhere);
  return walk;
}

class Walk implements FreeVariables {
  readonly #skipped: ReadonlySet<SyntaxNode>;
  readonly #free = new Set<string>();
  readonly assigned = new Set<string>();
  readonly outer = new Set<string>();
  readonly metas: SyntaxNode[] = [];
  imports = false;
  #isTop = true;

  constructor(skipped: ReadonlySet<SyntaxNode>) {
    this.#skipped = skipped;
  }

  get names(): readonly string[] {
    return [...this.#free];
  }

  visit(node: SyntaxNode, names: Names, owner: Owner): void {
    if (this.#skipped.has(node)) return;
    switch (node.type) {
      case "Identifier":
        this.#use(node.name as string, names, owner);
        return;
      case "FunctionDeclaration":
      case "FunctionExpression":
      case "ArrowFunctionExpression":
        this.#function(node, names, owner);
        return;
      case "ClassDeclaration":
      case "ClassExpression":
        this.#class(node, names, owner);
        return;
      case "BlockStatement":
        this.#all(node.body as Nodes, within(names, lexicalNames(node.body as Nodes)), owner);
        return;
      case "ForStatement":
      case "ForInStatement":
      case "ForOfStatement": {
        const head = (node.type === "ForStatement" ? node.init : node.left) as SyntaxNode | null;
        if (head !== null && head.type !== "VariableDeclaration") this.#noteAssigned(head, names);
        this.#all(childrenOf(node), within(names, head === null ? [] : lexicalNames([head])), owner);
        return;
      }
      case "SwitchStatement": {
        const cases = node.cases as readonly SyntaxNode[];
        this.visit(node.discriminant as SyntaxNode, names, owner);
        const inner = within(names, lexicalNames(cases.flatMap((each) => each.consequent as SyntaxNode[])));
        for (const each of cases) this.#all(childrenOf(each), inner, owner);
        return;
      }
      case "CatchClause": {
        const inner = within(names, node.param === null ? [] : patternNames(node.param as SyntaxNode));
        if (node.param !== null) this.#pattern(node.param as SyntaxNode, inner, owner);
        this.visit(node.body as SyntaxNode, inner, owner);
        return;
      }
      case "VariableDeclarator":
        this.#pattern(node.id as SyntaxNode, names, owner);
        if (node.init !== null) this.visit(node.init as SyntaxNode, names, owner);
        return;
      case "LabeledStatement":
        this.visit(node.body as SyntaxNode, names, owner);
        return;
      case "BreakStatement":
      case "ContinueStatement":
        return;
      case "MemberExpression":
        this.visit(node.object as SyntaxNode, names, owner);
        if (node.computed === true || (node.property as SyntaxNode).type === "PrivateIdentifier")
          this.visit(node.property as SyntaxNode, names, owner);
        return;
      case "Property":
        if (node.computed === true) this.visit(node.key as SyntaxNode, names, owner);
        // A method of an object literal has a `super` of its own.
        this.visit(node.value as SyntaxNode, names, owner);
        return;
      case "AssignmentExpression":
        this.#noteAssigned(node.left as SyntaxNode, names);
        this.#all([node.left as SyntaxNode, node.right as SyntaxNode], names, owner);
        return;
      case "UpdateExpression":
        this.#noteAssigned(node.argument as SyntaxNode, names);
        this.visit(node.argument as SyntaxNode, names, owner);
        return;
      case "ThisExpression":
        if (!owner.own) this.outer.add("this");
        return;
      case "Super":
        if (!owner.own) this.outer.add("super");
        return;
      case "PrivateIdentifier":
        if (!owner.privates.has(node.name as string)) this.outer.add(`#${node.name as string}`);
        return;
      case "MetaProperty":
        if ((node.meta as SyntaxNode).name === "import") this.metas.push(node);
        else if (!owner.own) this.outer.add("new.target");
        return;
      case "ImportExpression":
        this.imports = true;
        this.#all(childrenOf(node), names, owner);
        return;
      default:
        this.#all(childrenOf(node), names, owner);
    }
  }

  #all(nodes: Nodes, names: Names, owner: Owner): void {
    for (const node of [...nodes].sort(byPosition)) if (node !== null) this.visit(node, names, owner);
  }

  #use(name: string, names: Names, owner: Owner): void {
    for (let scope: Names | undefined = names; scope !== undefined; scope = scope.parent)
      if (scope.declared.has(name)) return;
    if (name === "arguments" && !owner.own) this.outer.add("arguments");
    else this.#free.add(name);
  }

  #noteAssigned(target: SyntaxNode, names: Names): void {
    for (const name of patternNames(target)) {
      let scope: Names | undefined = names;
      while (scope !== undefined && !scope.declared.has(name)) scope = scope.parent;
      if (scope === undefined) this.assigned.add(name);
    }
  }

  #function(node: SyntaxNode, names: Names, owner: Owner): void {
    const isTop = this.#isTop;
    this.#isTop = false;
    const isArrow = node.type === "ArrowFunctionExpression";
    const id = node.id as SyntaxNode | null | undefined;
    const params = node.params as readonly SyntaxNode[];
    const body = node.body as SyntaxNode;
    // `super` of a method that was taken out of its object or class is nobody's, though its `this` is its caller's.
    const inner: Owner = isArrow ? owner : { own: true, privates: owner.privates };
    const named = node.type === "FunctionExpression" && id ? within(names, [id.name as string]) : names;
    const withParams = within(named, params.flatMap(patternNames));
    if (!isArrow) withParams.declared.add("arguments");
    for (const param of params) this.#pattern(param, withParams, inner);
    if (body.type !== "BlockStatement") {
      this.visit(body, withParams, inner);
    } else {
      const statements = body.body as readonly SyntaxNode[];
      const declared = [...lexicalNames(statements), ...hoistedNames(statements)];
      this.#all(statements, within(withParams, declared), inner);
    }
    if (isTop && !isArrow && usesSuper(body, params)) this.outer.add("super");
  }

  #class(node: SyntaxNode, names: Names, owner: Owner): void {
    this.#isTop = false;
    const id = node.id as SyntaxNode | null;
    const scope = within(names, id === null ? [] : [id.name as string]);
    if (node.superClass !== null) this.visit(node.superClass as SyntaxNode, scope, owner);
    const members = (node.body as SyntaxNode).body as readonly SyntaxNode[];
    const privates = new Set(owner.privates);
    for (const { key } of members as readonly { readonly key?: SyntaxNode }[])
      if (key?.type === "PrivateIdentifier") privates.add(key.name as string);
    const inside: Owner = { own: true, privates };
    for (const member of members) {
      if (this.#skipped.has(member)) continue;
      if (member.computed === true) this.visit(member.key as SyntaxNode, scope, owner);
      if (member.type === "StaticBlock") {
        const statements = member.body as readonly SyntaxNode[];
        this.#all(
          statements,
          within(scope, [...lexicalNames(statements), ...hoistedNames(statements)]),
          inside,
        );
      } else if (member.value !== null) this.visit(member.value as SyntaxNode, scope, inside);
    }
  }

  /** Default values and computed keys of a declaration; its names are no uses. */
  #pattern(node: SyntaxNode, names: Names, owner: Owner): void {
    switch (node.type) {
      case "Identifier":
        return;
      case "ObjectPattern":
        for (const property of node.properties as readonly SyntaxNode[]) {
          if (property.type === "RestElement") this.#pattern(property.argument as SyntaxNode, names, owner);
          else {
            if (property.computed === true) this.visit(property.key as SyntaxNode, names, owner);
            this.#pattern(property.value as SyntaxNode, names, owner);
          }
        }
        return;
      case "ArrayPattern":
        for (const item of node.elements as Nodes) if (item !== null) this.#pattern(item, names, owner);
        return;
      case "RestElement":
        this.#pattern(node.argument as SyntaxNode, names, owner);
        return;
      case "AssignmentPattern":
        this.#pattern(node.left as SyntaxNode, names, owner);
        this.visit(node.right as SyntaxNode, names, owner);
        return;
    }
  }
}

function byPosition(a: SyntaxNode | null, b: SyntaxNode | null): number {
  return (a?.start ?? 0) - (b?.start ?? 0);
}

function within(parent: Names, declared: readonly string[]): Names {
  return { declared: new Set(declared), parent };
}

/** Names that a binding or assignment pattern gives values to. */
export function patternNames(node: SyntaxNode): string[] {
  switch (node.type) {
    case "Identifier":
      return [node.name as string];
    case "ObjectPattern":
      return (node.properties as readonly SyntaxNode[]).flatMap((property) =>
        patternNames((property.type === "RestElement" ? property.argument : property.value) as SyntaxNode),
      );
    case "ArrayPattern":
      return (node.elements as Nodes).flatMap((item) => (item === null ? [] : patternNames(item)));
    case "RestElement":
      return patternNames(node.argument as SyntaxNode);
    case "AssignmentPattern":
      return patternNames(node.left as SyntaxNode);
    default:
      return [];
  }
}

/** let, const, class and function declarations of a list of statements. */
function lexicalNames(statements: Nodes): string[] {
  return statements.flatMap((statement) => {
    if (statement === null) return [];
    if (statement.type === "FunctionDeclaration" || statement.type === "ClassDeclaration")
      return [(statement.id as SyntaxNode).name as string];
    if (statement.type === "VariableDeclaration" && statement.kind !== "var") return declaredNames(statement);
    return [];
  });
}

function declaredNames(declaration: SyntaxNode): string[] {
  return (declaration.declarations as readonly SyntaxNode[]).flatMap(({ id }) =>
    patternNames(id as SyntaxNode),
  );
}

/** `var` declarations at any depth of a function's body. */
function hoistedNames(statements: Nodes): string[] {
  return statements.flatMap((node): string[] => {
    if (node === null || OWN_VARIABLES.test(node.type)) return [];
    const own = node.type === "VariableDeclaration" && node.kind === "var" ? declaredNames(node) : [];
    return [...own, ...hoistedNames(childrenOf(node))];
  });
}

const OWN_VARIABLES = /^(?:Function|Arrow|Class|StaticBlock)/;

/** Whether a method uses `super`, itself or in arrow functions. */
function usesSuper(body: SyntaxNode, params: readonly SyntaxNode[]): boolean {
  const stack = [body, ...params];
  for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
    if (node.type === "Super") return true;
    if (node.type === "Property" && node.method === true) continue;
    if (/^(?:FunctionDeclaration|FunctionExpression|Class)/.test(node.type)) continue;
    stack.push(...childrenOf(node));
  }
  return false;
}
