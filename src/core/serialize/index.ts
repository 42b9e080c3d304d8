/** The door of this folder: what other parts of tsray may import. */

export { ValueCodec } from "./codec.ts";
export type {
  AnyClass,
  ClassName,
  ClassResolver,
  CodecHooks,
  EncodedValue,
  EncodeOptions,
  FunctionCodec,
  HandleCodec,
} from "./hooks.ts";
export { NotLoaded } from "./hooks.ts";
export { fromBytes, layoutOf, type Segment, toBytes } from "./layout.ts";
export { registerSerializer, type SerializerOptions, unregisterSerializer } from "./registry.ts";
export { createScopeResolver, type ScopeResolver } from "./scopes.ts";
export { OUT_OF_BAND_BYTES_MIN } from "./table.ts";
