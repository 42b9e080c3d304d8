/**
 * The code of a function as it travels: its text, made into the body of a factory that is given the captured variables
 * afterwards, so that functions which know each other can be made before either is complete.
 *
 * What has happened already when a class is sent must not happen again when it is made: its `extends` expression is
 * replaced by the class it gave, public static fields and static blocks are blanked out (their values travel). The text
 * keeps its lines and columns, so that stack traces point to the user's file.
 */
import { createHash } from "node:crypto";
import { freeVariables } from "./free-variables.ts";
import { forEachNode, type ParsedFunction, parseFunction, type SyntaxNode } from "./parse.ts";

/** Everything of a definition is plain data. */
export interface Definition {
  /** Of all that follows. */
  readonly hash: string;
  /** For messages. */
  readonly name: string;
  /** Text of the factory's body: returns [make, fill]. */
  readonly code: string;
  /** URL of the file it was written in, or a name like "[eval]". */
  readonly file: string;
  /** Where `code` begins there. */
  readonly line: number;
  readonly column: number;
  /** Names of the captured variables, in the order in which `fill` takes them. */
  readonly slots: readonly string[];
  /** Of a variable that is imported: its ref (refs.ts), for when the function travels on from there. */
  readonly refs: readonly (readonly unknown[] | null)[];
  readonly isClass: boolean;
  /** Making it runs code of the user's (private static fields, static blocks that set them, computed names). */
  readonly runs: boolean;
  /** It calls `import()`. */
  readonly imports: boolean;
  /** Source map of the code, where the other side cannot know that of the file; "" = none. */
  readonly map: string;
}

/** A definition, and what the sender must know of the text. */
export interface Analysis {
  readonly definition: Definition;
  /** What it needs of the place where it was written; it cannot travel when there is any. */
  readonly outer: ReadonlySet<string>;
  /** A declaration whose name is used inside: where that name means something else by now, `rebound` is sent instead. */
  readonly ownName: string | undefined;
  readonly rebound: Definition | undefined;
  readonly keys: readonly ComputedKey[];
  /** Names in computed names of fields: they are used when the class is made, so V8 keeps them for nobody. */
  readonly inKeys: readonly string[];
}

/** A member with a computed name: what it came to is found by the member's text. */
export interface ComputedKey {
  readonly slot: string;
  readonly text: string;
  readonly isStatic: boolean;
}

/** Where a text lies in a file. */
export interface Place {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly isStrict: boolean;
  /** A map of the text, for code that has that many columns before it. */
  readonly mapOf: (root: SyntaxNode, before: number) => string;
}

/** The slot that holds what a class extends. */
export const SUPER_SLOT = "__tsraySuper";
/** The slot that stands for `import.meta`; as long as that. */
export const META_SLOT = "__tsrayMeta";

/** Slots of what computed names of members came to. */
const KEY_SLOT = "__tsrayKey";

interface Cut {
  readonly edits: Edit[];
  readonly skipped: SyntaxNode[];
  readonly keys: ComputedKey[];
  readonly inKeys: string[];
}

interface Edit {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/**
 * @param isCaptured whether a free variable is found around the function; what is not is looked up at the other side
 * @param refOf the ref of a variable that is imported
 * @throws SyntaxError when the text is none of a function
 */
export function analyse(
  text: string,
  name: string,
  place: Place,
  isCaptured: (name: string) => boolean,
  refOf: (name: string) => readonly unknown[] | undefined,
): Analysis {
  const parsed = parseFunction(text);
  const { node } = parsed;
  const cut: Cut = { edits: [], skipped: [], keys: [], inKeys: [] };
  const { edits, skipped, keys, inKeys } = cut;
  const isClass = node.type === "ClassExpression";
  const runs = isClass && cutClass(node, text, cut);
  if (parsed.form !== "expression" && node.computed === true) {
    skipped.push(node.key as SyntaxNode);
    const start = text.lastIndexOf("[", (node.key as SyntaxNode).start);
    const end = text.indexOf("]", (node.key as SyntaxNode).end) + 1;
    edits.push({ start, end, text: "_".padEnd(end - start) });
  }
  const free = freeVariables(parsed, skipped);
  for (const meta of free.metas) edits.push({ start: meta.start, end: meta.end, text: META_SLOT });
  const slots = free.names.filter(isCaptured);
  if (free.metas.length > 0) slots.push(META_SLOT);
  if (isClass && node.superClass !== null) slots.push(SUPER_SLOT);
  slots.push(...keys.map(({ slot }) => slot));
  const body = applied(text, edits);
  const make = ([before, after]: readonly [string, string], own: readonly string[]) =>
    seal({
      name,
      code: before + body + after,
      file: place.file,
      line: place.line,
      column: place.column - before.length,
      slots: own,
      refs: own.map((slot) => refOf(slot) ?? null),
      isClass,
      runs,
      imports: free.imports,
      map: place.mapOf(node, before.length),
    });
  const ownName = node.type === "FunctionExpression" ? (node.id as SyntaxNode | null)?.name : undefined;
  return {
    definition: make(aroundExpression(parsed, slots, place.isStrict), slots),
    outer: free.outer,
    ownName: ownName as string | undefined,
    rebound:
      typeof ownName === "string"
        ? make(aroundDeclaration(ownName, slots, place.isStrict), [...slots, ownName])
        : undefined,
    keys,
    inKeys,
  };
}

/** Replaces what has run already. @returns whether making the class still runs code */
function cutClass(node: SyntaxNode, text: string, { edits, skipped, keys, inKeys }: Cut): boolean {
  const superClass = node.superClass as SyntaxNode | null;
  if (superClass !== null) {
    // Parentheses around the expression do not show in the tree.
    const bodyStart = (node.body as SyntaxNode).start;
    const afterId = (node.id as SyntaxNode | null)?.end ?? node.start + "class".length;
    const start = text.indexOf("extends", afterId) + "extends".length;
    edits.push({ start, end: bodyStart, text: ` ${SUPER_SLOT} ${linesOf(text.slice(start, bodyStart))}` });
    skipped.push(superClass);
  }
  let runs = false;
  for (const member of (node.body as SyntaxNode).body as readonly SyntaxNode[]) {
    if (member.computed === true && member.type === "MethodDefinition") {
      const key = {
        slot: `${KEY_SLOT}${keys.length}`,
        text: methodText(member, text),
        isStatic: member.static === true,
      };
      keys.push(key);
      const { start, end } = member.key as SyntaxNode;
      edits.push({ start, end, text: key.slot });
      skipped.push(member.key as SyntaxNode);
      continue;
    }
    if (member.computed === true && member.static === true) {
      // Its value travels as a property.
      const blank = `;${linesOf(text.slice(member.start, member.end))}`;
      edits.push({ start: member.start, end: member.end, text: blank });
      skipped.push(member);
      continue;
    }
    if (member.computed === true) {
      forEachNode(member.key as SyntaxNode, (each) => {
        if (each.type === "Identifier") inKeys.push(each.name as string);
      });
    }
    if (member.type === "StaticBlock") {
      if (namesPrivates(member)) runs = true;
      else {
        edits.push({
          start: member.start,
          end: member.end,
          text: `;${linesOf(text.slice(member.start, member.end))}`,
        });
        skipped.push(member);
      }
    } else if (member.type === "PropertyDefinition" && member.static === true && member.value !== null) {
      const value = member.value as SyntaxNode;
      if ((member.key as SyntaxNode).type === "PrivateIdentifier") runs = true;
      else {
        const start = text.indexOf("=", afterKey(member, text));
        edits.push({ start, end: value.end, text: linesOf(text.slice(start, value.end)) });
        skipped.push(value);
        // `= (value)`: what is left of the parentheses.
        const rest = text.slice(value.end, member.end);
        const closing = rest.search(/\)(?=[^)]*$)/);
        if (closing >= 0)
          edits.push({
            start: value.end,
            end: value.end + closing + 1,
            text: linesOf(rest.slice(0, closing + 1)),
          });
      }
    }
  }
  return runs;
}

/** What `toString` gives for a method. */
function methodText(member: SyntaxNode, text: string): string {
  const whole = text.slice(member.start, member.end);
  return member.static === true ? whole.replace(/^static\s*/, "") : whole;
}

function afterKey(member: SyntaxNode, text: string): number {
  const { end } = member.key as SyntaxNode;
  return member.computed === true ? text.indexOf("]", end) + 1 : end;
}

function namesPrivates(root: SyntaxNode): boolean {
  let found = false;
  forEachNode(root, (node) => {
    if (node.type === "PrivateIdentifier") found = true;
  });
  return found;
}

/** Only the line breaks of a text. */
function linesOf(text: string): string {
  return text.replace(/[^\n]+/g, "");
}

function applied(text: string, edits: readonly Edit[]): string {
  let result = text;
  for (const { start, end, text: inserted } of [...edits].sort((a, b) => b.start - a.start))
    result = result.slice(0, start) + inserted + result.slice(end);
  return result;
}

function head(slots: readonly string[], isStrict: boolean): string {
  return `${isStrict ? '"use strict";' : ""}${slots.length === 0 ? "" : `let ${slots.join(",")};`}`;
}

function fill(slots: readonly string[]): string {
  return slots.length === 0 ? "()=>{}" : `(__tsrayValues)=>{[${slots.join(",")}]=__tsrayValues}`;
}

/** What stands before and behind the text. */
function aroundExpression(
  { form }: ParsedFunction,
  slots: readonly string[],
  isStrict: boolean,
): [string, string] {
  const [open, close] =
    form === "expression" ? ["(", "\n)"] : [`__tsrayMember(${JSON.stringify(form)},{`, "\n})"];
  return [`${head(slots, isStrict)}return[()=>${open}`, `${close},${fill(slots)}]`];
}

/** The name of the function is a variable that is filled like the others. */
function aroundDeclaration(name: string, slots: readonly string[], isStrict: boolean): [string, string] {
  return [
    head(slots, isStrict),
    `\nconst __tsrayOwn=${name};return[()=>__tsrayOwn,${fill([...slots, name])}]`,
  ];
}

function seal(parts: Omit<Definition, "hash">): Definition {
  const definition = { hash: "", ...parts };
  return { ...definition, hash: hashOf(definition) };
}

/** The hash of everything but the hash. */
export function hashOf(definition: Definition): string {
  const [, ...rest] = definitionToTuple(definition);
  return createHash("sha256").update(JSON.stringify(rest)).digest("hex").slice(0, 32);
}

const tuples = new WeakMap<Definition, readonly unknown[]>();

/** As it stands in a message: the same one each time. */
export function tupleOf(definition: Definition): readonly unknown[] {
  let tuple = tuples.get(definition);
  if (tuple === undefined) {
    tuple = definitionToTuple(definition);
    tuples.set(definition, tuple);
  }
  return tuple;
}

function definitionToTuple(definition: Definition): readonly unknown[] {
  const { hash, name, code, file, line, column, slots, refs, isClass, runs, imports, map } = definition;
  return [hash, name, code, file, line, column, slots, refs, isClass, runs, imports, map];
}

/** @returns undefined for anything else than what {@link tupleOf} gives */
export function definitionFromTuple(tuple: unknown): Definition | undefined {
  if (!Array.isArray(tuple) || tuple.length !== 12) return undefined;
  const [hash, name, code, file, line, column, slots, refs, isClass, runs, imports, map] = tuple as unknown[];
  const isWhole =
    [hash, name, code, file, map].every((each) => typeof each === "string") &&
    [line, column].every((each) => Number.isInteger(each)) &&
    Array.isArray(slots) &&
    slots.every((each) => typeof each === "string") &&
    Array.isArray(refs);
  if (!isWhole) return undefined;
  return {
    hash,
    name,
    code,
    file,
    line,
    column,
    slots,
    refs,
    isClass: isClass === true,
    runs: runs === true,
    imports: imports === true,
    map,
  } as Definition;
}
