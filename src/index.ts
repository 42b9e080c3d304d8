/** The public door of tsray. Everything a user or a library of ours needs comes through here. */

export {
  getCurrentPlacementGroup,
  getPlacementGroup,
  PlacementGroup,
  placement,
  placementGroup,
  placementGroups,
} from "./core/api/placement-groups.ts";
export { Actor, method, remote } from "./core/api/remote.ts";
export { nodeAffinity } from "./core/api/strategies.ts";
export type {
  ActorFactory,
  ActorHandle,
  ActorMethod,
  AnyActorHandle,
  CallResult,
  GetActorFn,
  GetFn,
  HandleOf,
  PutFn,
  ReleaseFn,
  RemoteArgs,
  RemoteClass,
  RemoteFunction,
  Resolved,
  WaitFn,
  WaitResult,
} from "./core/api/types.ts";
export {
  ActorDiedError,
  ActorUnavailableError,
  AlreadyInitializedError,
  AuthenticationError,
  ClusterUnreachableError,
  type ErrorName,
  FunctionNotFoundError,
  GetTimeoutError,
  InvalidOptionError,
  NodeDiedError,
  NotInitializedError,
  ObjectLostError,
  ObjectStoreFullError,
  OutOfMemoryError,
  OwnerDiedError,
  PendingCallsLimitError,
  PlacementGroupError,
  PoisonTaskError,
  RefDisposedError,
  RuntimeEnvError,
  SerializationError,
  TaskCancelledError,
  TaskError,
  TsrayError,
  TuneError,
  UnschedulableError,
  WorkerCrashedError,
} from "./core/base/errors.ts";
export type {
  ActorOptions,
  CancelOptions,
  GetActorOptions,
  GetOptions,
  GroupStrategy,
  InitOptions,
  KillOptions,
  LabelSelector,
  MethodCallOptions,
  MethodOptions,
  NodeAffinityOptions,
  PlacementGroupStrategy,
  SchedulingStrategy,
  TaskOptions,
  WaitOptions,
} from "./core/base/options.ts";
export type {
  BundleResources,
  GetPlacementGroupOptions,
  PlacementGroupOptions,
  PlacementGroupView,
  PlacementOptionsInGroup,
} from "./core/base/placement-group-options.ts";
export { ObjectRef } from "./core/ownership/object-ref.ts";
export { ObjectRefGenerator } from "./core/ownership/object-ref-generator.ts";
export { registerSerializer, unregisterSerializer } from "./core/serialize/index.ts";
export {
  availableResources,
  clusterResources,
  exitActor,
  getActor,
  getRuntimeContext,
  kill,
  type NodeView,
  nodes,
  type RuntimeContext,
  ready,
} from "./runtime/cluster.ts";
export { type Cluster, init, isInitialized, shutdown } from "./runtime/init.ts";
export { cancel, free, get, put, wait } from "./runtime/objects.ts";
export { release } from "./runtime/release.ts";
