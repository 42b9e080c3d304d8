/**
 * By what actors are found besides their ids: names, and aliases.
 *
 * A name is unique per namespace among live actors, taken and freed in one turn of the event loop; it lies in the store
 * with its actor. An alias is the id that a creator chose for an actor which `getIfExists` found: handles with it may be
 * on their way already, so it is on the store before its creator is answered, and stands as long as its actor is known.
 */
import { BoundedMap } from "../bounded-map.ts";
import type { KeptRecord, RecordKeeper } from "../state-store/record-keeper.ts";
import type { StateStore } from "../state-store/state-store.ts";
import { ActorIndex } from "./actor-index.ts";

const TABLE = "actor-aliases";
/** The oldest goes first. */
const ALIASES_MAX = 100_000;

interface Alias {
  readonly actorId: string;
  readonly kept: KeptRecord;
}

export class ActorNames {
  readonly #store: StateStore;
  readonly #keeper: RecordKeeper;
  readonly #idsByName = new Map<string, string>();
  readonly #aliases: BoundedMap<string, Alias>;
  readonly #aliasesOf = new ActorIndex();

  constructor(store: StateStore, keeper: RecordKeeper) {
    this.#store = store;
    this.#keeper = keeper;
    this.#aliases = new BoundedMap(ALIASES_MAX, (id, alias) => this.#drop(id, alias));
  }

  /** Reads the aliases back; those of actors that are not known any more go. */
  async load(isKnown: (actorId: string) => boolean): Promise<void> {
    for (const { key: id, value } of await this.#store.list(TABLE)) {
      const alias = this.#enter(id, Buffer.from(value).toString("utf8"));
      if (isKnown(alias.actorId)) continue;
      this.#aliases.delete(id);
      this.#drop(id, alias);
    }
  }

  /** The actor with that name; undefined where there is none, and for no name. */
  holder(namespace: string, name: string): string | undefined {
    return name === "" ? undefined : this.#idsByName.get(nameKey(namespace, name));
  }

  take(namespace: string, name: string, actorId: string): void {
    if (name !== "") this.#idsByName.set(nameKey(namespace, name), actorId);
  }

  free(namespace: string, name: string): void {
    if (name !== "") this.#idsByName.delete(nameKey(namespace, name));
  }

  /** The actor that an id means, its own or an alias. */
  idOf(id: string): string {
    return this.#aliases.get(id)?.actorId ?? id;
  }

  addAlias(id: string, actorId: string): void {
    this.#enter(id, actorId).kept.changed();
  }

  /** Resolves when the alias, if the id is one, is on the store. @throws ClusterUnreachableError when it cannot be now */
  async aliasDurable(id: string): Promise<void> {
    await this.#aliases.get(id)?.kept.durable();
  }

  /** The actor is known no more. */
  forget(actorId: string): void {
    for (const id of this.#aliasesOf.get(actorId)) {
      const alias = this.#aliases.get(id);
      this.#aliases.delete(id);
      if (alias !== undefined) this.#drop(id, alias);
    }
  }

  #enter(id: string, actorId: string): Alias {
    const kept = this.#keeper.keep(async () => {
      await this.#store.put(TABLE, id, Buffer.from(actorId, "utf8"));
    });
    const alias = { actorId, kept };
    this.#aliases.set(id, alias);
    this.#aliasesOf.add(actorId, id);
    return alias;
  }

  #drop(id: string, { actorId, kept }: Alias): void {
    this.#aliasesOf.remove(actorId, id);
    kept.replaced(async () => {
      await this.#store.delete(TABLE, id);
    });
  }
}

const nameKey = (namespace: string, name: string) => `${namespace}\0${name}`;
