/** What a domain is to the compiler, and the type of a config, read off the space it comes from. */

declare const valueType: unique symbol;

/** A set of values of type `T`, or a rule that makes one. */
export interface Domain<out T> {
  readonly [valueType]?: T;
  /** How the user wrote it, for messages. */
  readonly source: string;
  /** What is wrong with it, or undefined. */
  problem(): string | undefined;
}

type Kept = string | number | boolean | bigint | symbol | null | undefined | Date | ArrayBufferView;

/** `ConfigOf<{ lr: Domain<number>; layers: Domain<1 | 2> }>` is `{ lr: number; layers: 1 | 2 }`; constants stay as they are. */
export type ConfigOf<S> =
  S extends Domain<infer T>
    ? T
    : S extends Kept
      ? S
      : S extends (...args: never[]) => infer R
        ? R
        : S extends object
          ? { -readonly [K in keyof S]: ConfigOf<S[K]> }
          : S;
