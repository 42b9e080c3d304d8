/**
 * What a worker prints, cut into lines. The worker marks in its output which task or actor prints (see
 * src/worker/output-marks.ts); marks are taken out here.
 */
import { MARK, MARK_END } from "../../core/launch/worker-boot.ts";

export interface OutputLine {
  /** Task or actor that printed it; "" for what the job's module prints while it is evaluated. */
  readonly name: string;
  readonly isStderr: boolean;
  readonly text: string;
}

const LINE_CHARS_MAX = 64 * 1024;
const TAIL_LINES_MAX = 20;
const TAIL_CHARS_MAX = 4096;
const V8_GAVE_UP = "FATAL ERROR: ";

export class OutputReader {
  readonly #isStderr: boolean;
  readonly #deliver: (line: OutputLine) => void;
  readonly #decoder = new TextDecoder();
  #rest = "";
  #name = "";
  #tail: string[] = [];
  #fatalError = "";

  constructor(isStderr: boolean, deliver: (line: OutputLine) => void) {
    this.#isStderr = isStderr;
    this.#deliver = deliver;
  }

  /** The last lines, for error messages. */
  get tail(): string {
    return this.#tail.join("\n").slice(-TAIL_CHARS_MAX);
  }

  /** V8's last words, which its long native stack trace pushes out of the tail; "" while it has not given up. */
  get fatalError(): string {
    return this.#fatalError;
  }

  push(chunk: Buffer): void {
    this.#rest += this.#decoder.decode(chunk, { stream: true });
    const lines = this.#rest.split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) this.#line(line);
    if (this.#rest.length > LINE_CHARS_MAX) {
      this.#line(this.#rest);
      this.#rest = "";
    }
  }

  end(): void {
    if (this.#rest !== "") this.#line(this.#rest);
    this.#rest = "";
  }

  #line(raw: string): void {
    let text = raw;
    let marked = false;
    for (let at = text.indexOf(MARK); at >= 0; at = text.indexOf(MARK)) {
      const end = text.indexOf(MARK_END, at);
      if (end < 0) break;
      this.#name = text.slice(at + MARK.length, end);
      text = text.slice(0, at) + text.slice(end + 1);
      marked = true;
    }
    // A mark stands on a line of its own.
    if (marked && text === "") return;
    if (text.endsWith("\r")) text = text.slice(0, -1);
    if (text.length > LINE_CHARS_MAX) text = `${text.slice(0, LINE_CHARS_MAX)} [cut]`;
    if (this.#isStderr && text.startsWith(V8_GAVE_UP)) this.#fatalError = text;
    this.#tail.push(text);
    if (this.#tail.length > TAIL_LINES_MAX) this.#tail.shift();
    this.#deliver({ name: this.#name, isStderr: this.#isStderr, text });
  }
}
