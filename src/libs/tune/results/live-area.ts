/** The lowest lines of a terminal, redrawn in place; what others print meanwhile goes above them. */

type Write = typeof process.stdout.write;

export class LiveArea {
  readonly #stream: NodeJS.WriteStream;
  readonly #write: Write;
  #lines: readonly string[] = [];
  #drawn = 0;

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
    this.#write = stream.write.bind(stream) as Write;
  }

  show(lines: readonly string[]): void {
    if (this.#stream.write !== this.#intercept) this.#stream.write = this.#intercept;
    const before = this.#erase();
    this.#lines = lines;
    this.#write(before + this.#draw());
  }

  /** Leaves the lines where they are. */
  end(): void {
    if (this.#stream.write === this.#intercept) this.#stream.write = this.#write;
    this.#drawn = 0;
  }

  readonly #intercept = ((chunk: string | Uint8Array, ...rest: never[]) => {
    const text = typeof chunk === "string" ? chunk : Buffer.from(chunk).toString();
    const isWhole = text.endsWith("\n");
    const erased = this.#erase();
    return (this.#write as (text: string, ...rest: never[]) => boolean)(
      `${erased}${text}${isWhole ? "" : "\n"}${this.#draw()}`,
      ...rest,
    );
  }) as Write;

  #erase(): string {
    const text = this.#drawn === 0 ? "" : `\u001b[${this.#drawn}A\u001b[J`;
    this.#drawn = 0;
    return text;
  }

  #draw(): string {
    this.#drawn = this.#lines.length;
    return this.#lines.map((line) => `${line}\u001b[K\n`).join("");
  }
}
