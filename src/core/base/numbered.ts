/**
 * What is outstanding: by number, where numbers are given in turn, and in the order in which it was sent.
 *
 * Not a Map and a Set, for the garbage collector's sake. One that everything runs through makes its table anew all the
 * time; V8 links each table to the next, so that one dead table which has grown old keeps all later ones alive with all
 * they held. Copying those took two fifths of a driver's time. Here nothing that is dead leads to what came after it.
 */

const PIECE = 256;

interface Piece<T> {
  id: number;
  readonly items: (T | undefined)[];
  count: number;
}

/** Items by whole numbers from 0, most of which are near each other. As a Map otherwise. */
export class Numbered<T extends object> {
  /** Each lives as long as something in it; the newest longer, to be filled further or used again. */
  readonly #pieces = new Map<number, Piece<T>>();
  #newest: Piece<T> | undefined;
  /** The one that was used last. */
  #last: Piece<T> | undefined;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(number: number): T | undefined {
    const id = Math.floor(number / PIECE);
    return this.#piece(id)?.items[number - id * PIECE];
  }

  set(number: number, item: T): void {
    const id = Math.floor(number / PIECE);
    const piece = this.#piece(id) ?? this.#newPiece(id);
    const at = number - id * PIECE;
    if (piece.items[at] === undefined) {
      piece.count += 1;
      this.#size += 1;
    }
    piece.items[at] = item;
  }

  /** @returns whether it was there */
  delete(number: number): boolean {
    const id = Math.floor(number / PIECE);
    const piece = this.#piece(id);
    const at = number - id * PIECE;
    if (piece?.items[at] === undefined) return false;
    piece.items[at] = undefined;
    piece.count -= 1;
    this.#size -= 1;
    if (piece.count === 0 && piece !== this.#newest) this.#drop(piece);
    return true;
  }

  /** Those that are there now. */
  values(): T[] {
    const all: T[] = [];
    for (const { items } of this.#pieces.values())
      for (const item of items) if (item !== undefined) all.push(item);
    return all;
  }

  #piece(id: number): Piece<T> | undefined {
    if (id === this.#last?.id) return this.#last;
    const piece = this.#pieces.get(id);
    if (piece !== undefined) this.#last = piece;
    return piece;
  }

  #newPiece(id: number): Piece<T> {
    let piece = this.#newest;
    if (piece?.count === 0) this.#drop(piece);
    else piece = { id, items: new Array<T | undefined>(PIECE).fill(undefined), count: 0 };
    piece.id = id;
    this.#pieces.set(id, piece);
    this.#newest = piece;
    this.#last = piece;
    return piece;
  }

  #drop(piece: Piece<T>): void {
    this.#pieces.delete(piece.id);
    if (this.#last === piece) this.#last = undefined;
  }
}

/** What an item carries to stand in a line: in one at a time. */
export interface InLine {
  line: Line<never> | undefined;
  before: InLine | undefined;
  after: InLine | undefined;
}

/** Items in the order in which they were added. As a Set otherwise. */
export class Line<T extends InLine> {
  #first: T | undefined;
  #last: T | undefined;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The one that was added first. */
  get first(): T | undefined {
    return this.#first;
  }

  /** @throws Error when it stands in a line already */
  add(item: T): void {
    if (item.line !== undefined) throw new Error("it stands in a line already");
    item.line = this as unknown as Line<never>;
    item.before = this.#last;
    if (this.#last === undefined) this.#first = item;
    else this.#last.after = item;
    this.#last = item;
    this.#size += 1;
  }

  /** @returns whether it was there */
  delete(item: T): boolean {
    if (item.line !== (this as unknown)) return false;
    const { before, after } = item as { before: T | undefined; after: T | undefined };
    if (before === undefined) this.#first = after;
    else before.after = after;
    if (after === undefined) this.#last = before;
    else after.before = before;
    item.line = undefined;
    item.before = undefined;
    item.after = undefined;
    this.#size -= 1;
    return true;
  }

  /** Empties it. @returns what was there, in order */
  takeAll(): T[] {
    const all = this.values();
    for (const item of all) this.delete(item);
    return all;
  }

  /** Those that are there now, in order. */
  values(): T[] {
    const all: T[] = [];
    for (let item = this.#first; item !== undefined; item = item.after as T | undefined) all.push(item);
    return all;
  }
}
