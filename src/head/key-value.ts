/**
 * The cluster's internal key-value store, as calls: namespaces over one table of the state store.
 *
 * Decides how a namespace and a key make one key, and what `expected_revision` means. A conditional put is strict: a
 * repeat whose first reply was lost is told `stored = false`, with the revision that its first try has made.
 */
import { InvalidOptionError } from "../core/base/errors.ts";
import {
  KvGetReply,
  type KvGetRequest,
  type KvKeysReply,
  type KvKeysRequest,
  type KvPutReply,
  type KvPutRequest,
} from "../core/wire/gen/tsray/v1/head.ts";
import type { StateStore } from "./state-store/state-store.ts";

const TABLE = "kv";
const VALUE_BYTES_MAX = 8 * 1024 * 1024;
/** Keys of one answer; ask with a longer prefix for the rest. At the longest keys this still fits one message. */
const KEYS_PER_ANSWER_MAX = 10_000;
const ONLY_IF_ABSENT = -1;

export class KeyValue {
  readonly #store: StateStore;

  constructor(store: StateStore) {
    this.#store = store;
  }

  async get({ namespace, key }: KvGetRequest): Promise<KvGetReply> {
    const entry = await this.#store.get(TABLE, keyOf(namespace, key));
    if (entry === undefined) return KvGetReply.fromPartial({});
    return { found: true, value: Buffer.from(entry.value), revision: entry.revision };
  }

  /** @throws InvalidOptionError when value or key are too large */
  async put({ namespace, key, value, expectedRevision }: KvPutRequest): Promise<KvPutReply> {
    if (value.length > VALUE_BYTES_MAX) {
      throw new InvalidOptionError(
        `the value of key ${key} has ${value.length} bytes, ${VALUE_BYTES_MAX} is the most`,
      );
    }
    const id = keyOf(namespace, key);
    if (expectedRevision === 0) return this.#store.put(TABLE, id, value);
    return this.#store.put(TABLE, id, value, expectedRevision === ONLY_IF_ABSENT ? 0 : expectedRevision);
  }

  async delete({ namespace, key }: KvGetRequest): Promise<void> {
    await this.#store.delete(TABLE, keyOf(namespace, key));
  }

  async keys({ namespace, prefix }: KvKeysRequest): Promise<KvKeysReply> {
    const skip = keyOf(namespace, "").length;
    const keys = await this.#store.keys(TABLE, keyOf(namespace, prefix), KEYS_PER_ANSWER_MAX);
    return { keys: keys.map((key) => key.slice(skip)) };
  }
}

/** No namespace is the beginning of another: its own slashes are escaped. */
const keyOf = (namespace: string, key: string) => `${encodeURIComponent(namespace)}/${key}`;
