/**
 * Which placement group a call goes into without having named one: that of the task or actor which makes it, where that was
 * placed with `captureChildren`. Costs nothing in processes where no such task has come.
 */
import { currentCall } from "./call-context.ts";
import {
  type CallGroup,
  type ResolvedActorOptions,
  type ResolvedTaskOptions,
  resolveActorOptions,
  resolveTaskOptions,
} from "./options.ts";

/** Some task or actor of this process was placed with `captureChildren`. */
let isAny = false;

/** The options in the group that they were last captured by. */
const tasks = new WeakMap<ResolvedTaskOptions, ResolvedTaskOptions>();
const actors = new WeakMap<ResolvedActorOptions, ResolvedActorOptions>();

/** What runs in a group has come to this process. */
export function noteGroup(group: CallGroup | null): void {
  if (group?.captureChildren === true) isAny = true;
}

/** @throws InvalidOptionError when no bundle of the group can ever hold it */
export function captureTask(options: ResolvedTaskOptions): ResolvedTaskOptions {
  if (!isAny) return options;
  const group = capturing(options);
  if (group === undefined) return options;
  const known = tasks.get(options);
  if (known?.strategy.groupId === group.facts.id) return known;
  const streams = options.numReturns === "streaming" && options.given.numReturns === undefined;
  const captured = resolveTaskOptions({ schedulingStrategy: placeIn(group, true) }, options, { streams });
  tasks.set(options, captured);
  return captured;
}

/** As {@link captureTask}; what the actor starts itself is not captured. @throws InvalidOptionError */
export function captureActor(options: ResolvedActorOptions): ResolvedActorOptions {
  if (!isAny) return options;
  const group = capturing(options);
  if (group === undefined) return options;
  const known = actors.get(options);
  if (known?.strategy.groupId === group.facts.id) return known;
  const captured = resolveActorOptions({ schedulingStrategy: placeIn(group, false) }, options);
  actors.set(options, captured);
  return captured;
}

function capturing({ given }: ResolvedTaskOptions | ResolvedActorOptions): CallGroup | undefined {
  if (given.schedulingStrategy !== undefined) return undefined;
  const group = currentCall()?.group;
  return group?.captureChildren === true ? group : undefined;
}

const placeIn = ({ facts }: CallGroup, captureChildren: boolean) =>
  ({ kind: "PLACEMENT_GROUP", group: facts, bundle: -1, captureChildren }) as const;
