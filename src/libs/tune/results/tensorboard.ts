/**
 * TensorBoard's event files. Each record: length (u64), masked CRC-32C of it, payload, masked CRC-32C of the payload.
 * Payloads are protobuf messages of type tensorflow.Event, whose few fields are written by hand here.
 */
import { closeSync, openSync, writeSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { crc32c } from "../journal/crc.ts";

/** Fields of Event, Summary, Summary.Value and of the hparams plugin's messages. */
const EVENT = { wallTime: 1, step: 2, fileVersion: 3, summary: 5 };
const VALUE = { tag: 1, simpleValue: 2, metadata: 9 };
const HPARAMS_PLUGIN = "hparams";
const STATUS_SUCCESS = 1;

let files = 0;

export class TensorBoardWriter {
  readonly #fd: number;

  constructor(directory: string) {
    // The time first: TensorBoard reads files in the order of their names.
    const name = `events.out.tfevents.${Math.floor(Date.now() / 1000)}.${hostname()}.${process.pid}.${files++}`;
    this.#fd = openSync(join(directory, name), "a");
    this.#event([text(EVENT.fileVersion, "brain.Event:2")]);
  }

  scalars(step: number, values: Readonly<Record<string, number>>): void {
    const summary = Object.entries(values).map(([tag, value]) =>
      message(1, [text(VALUE.tag, tag), float32(VALUE.simpleValue, value)]),
    );
    this.#event([varintField(EVENT.step, step), message(EVENT.summary, summary)]);
  }

  /** For the HPARAMS tab: the configuration, and which metrics belong to it. */
  hyperparameters(config: Readonly<Record<string, unknown>>, metrics: readonly string[]): void {
    const kinds = Object.entries(config).map(([name, value]) =>
      message(1, [text(1, name), varintField(3, kindOf(value))]),
    );
    const experiment = [...kinds, ...metrics.map((tag) => message(2, [message(1, [text(2, tag)])]))];
    const start = Object.entries(config).map(([name, value]) =>
      // A map entry: key, and a google.protobuf.Value.
      message(1, [text(1, name), message(2, [valueField(value)])]),
    );
    const version = varintField(1, 0);
    this.#plugin("_hparams_/experiment", [version, message(2, experimentFields(experiment))]);
    this.#plugin("_hparams_/session_start_info", [
      version,
      message(3, [...start, double(5, Date.now() / 1000)]),
    ]);
    this.#plugin("_hparams_/session_end_info", [
      version,
      message(4, [varintField(1, STATUS_SUCCESS), double(2, Date.now() / 1000)]),
    ]);
  }

  close(): void {
    closeSync(this.#fd);
  }

  #plugin(tag: string, content: readonly Buffer[]): void {
    const data = [text(1, HPARAMS_PLUGIN), bytes(2, Buffer.concat([...content]))];
    const value = message(1, [text(VALUE.tag, tag), message(VALUE.metadata, [message(1, data)])]);
    this.#event([message(EVENT.summary, [value])]);
  }

  #event(fields: readonly Buffer[]): void {
    const payload = Buffer.concat([double(EVENT.wallTime, Date.now() / 1000), ...fields]);
    const head = Buffer.alloc(12);
    head.writeUInt32LE(payload.length, 0);
    head.writeUInt32LE(masked(head.subarray(0, 8)), 8);
    const tail = Buffer.alloc(4);
    tail.writeUInt32LE(masked(payload), 0);
    writeSync(this.#fd, Buffer.concat([head, payload, tail]));
  }
}

/** HParamInfo is field 4 and MetricInfo field 5 of an Experiment. */
function experimentFields(parts: readonly Buffer[]): Buffer[] {
  return parts.map((part) => {
    const moved = Buffer.from(part);
    moved[0] = part[0] === 0x0a ? (4 << 3) | 2 : (5 << 3) | 2;
    return moved;
  });
}

/** DataType of the hparams plugin: string 1, bool 2, float64 3. */
function kindOf(value: unknown): number {
  return typeof value === "number" ? 3 : typeof value === "boolean" ? 2 : 1;
}

/** google.protobuf.Value: number 2, string 3, bool 4. */
function valueField(value: unknown): Buffer {
  if (typeof value === "number") return double(2, value);
  if (typeof value === "boolean") return varintField(4, value ? 1 : 0);
  return text(3, typeof value === "string" ? value : (JSON.stringify(value) ?? String(value)));
}

function masked(data: Uint8Array): number {
  const crc = crc32c(data);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

// ---------------------------------------------------------------------------------------------------- protobuf fields

function varint(value: number): Buffer {
  const parts: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(Number.isFinite(value) ? Math.trunc(value) : 0));
  do {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    parts.push(rest === 0n ? low : low | 0x80);
  } while (rest !== 0n);
  return Buffer.from(parts);
}

function key(field: number, wireType: number): Buffer {
  return varint((field << 3) | wireType);
}

function varintField(field: number, value: number): Buffer {
  return Buffer.concat([key(field, 0), varint(value)]);
}

function double(field: number, value: number): Buffer {
  const data = Buffer.alloc(8);
  data.writeDoubleLE(value);
  return Buffer.concat([key(field, 1), data]);
}

function float32(field: number, value: number): Buffer {
  const data = Buffer.alloc(4);
  data.writeFloatLE(value);
  return Buffer.concat([key(field, 5), data]);
}

function bytes(field: number, data: Uint8Array): Buffer {
  return Buffer.concat([key(field, 2), varint(data.length), data]);
}

function text(field: number, value: string): Buffer {
  return bytes(field, Buffer.from(value));
}

function message(field: number, parts: readonly Buffer[]): Buffer {
  return bytes(field, Buffer.concat([...parts]));
}
