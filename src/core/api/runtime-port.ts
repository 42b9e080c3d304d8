/**
 * The door from `remote()` to the runtime: what a call needs, and who provides it.
 * Lets user code be registered without loading, or starting, anything that runs it.
 */
import { NotInitializedError } from "../base/errors.ts";
import type { RegisteredClass, RegisteredTask } from "../base/function-registry.ts";
import type {
  PlacementGroupFacts,
  ResolvedActorOptions,
  ResolvedTaskOptions,
  ResolvedWaitLimits,
} from "../base/options.ts";
import type { PlacementGroupView, ResolvedPlacementGroup } from "../base/placement-group-options.ts";

/** What the runtime does for calls of `.remote()` (which return at once), and about placement groups. */
export interface RuntimePort {
  /** @returns an ObjectRef; an array of n for numReturns n > 1; undefined for 0; an ObjectRefGenerator for "streaming" */
  submitTask(record: RegisteredTask, args: readonly unknown[], options: ResolvedTaskOptions): unknown;
  /** @returns the actor's handle */
  createActor(record: RegisteredClass, args: readonly unknown[], options: ResolvedActorOptions): unknown;
  readonly groups: GroupPort;
}

/** What the runtime does about placement groups. */
export interface GroupPort {
  create(group: ResolvedPlacementGroup): Promise<PlacementGroupFacts>;
  ready(group: PlacementGroupFacts, limits: ResolvedWaitLimits): Promise<void>;
  remove(groupId: string): Promise<void>;
  find(
    name: string,
    limits: ResolvedWaitLimits & { readonly namespace: string | undefined },
  ): Promise<PlacementGroupFacts>;
  list(): Promise<PlacementGroupView[]>;
  /** The group that the running task or actor is in. */
  current(): PlacementGroupFacts | undefined;
}

let provide: (() => RuntimePort) | undefined;

/** Says where the runtime comes from. The provider is called for each `.remote()` and starts one where there is none. */
export function setRuntimeProvider(provider: () => RuntimePort): void {
  provide = provider;
}

/** The runtime of this process. @throws NotInitializedError where nothing provides one */
export function currentRuntime(): RuntimePort {
  if (provide === undefined) throw new NotInitializedError("there is no tsray runtime in this process");
  return provide();
}
