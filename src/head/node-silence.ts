/**
 * Which silent nodes are dead. Pure.
 *
 * A node that is cut off alone fences itself soon: any other that it reaches still hears the head. Two that are cut off
 * together may take the head for gone and wait for it, and so may any node that was silent when this head began: those
 * are given their grace.
 */
import type { HealthTimes } from "../core/launch/health-rules.ts";

export interface NodeSilence {
  readonly nodeId: string;
  readonly silentMs: number;
}

/** @param runsMs how long this head has run @returns ids of those that are dead */
export function judgeSilence(nodes: readonly NodeSilence[], runsMs: number, times: HealthTimes): string[] {
  const { selfFenceMs, declareDeadMs, graceMs, trustMs } = times;
  const bySilence = [...nodes].sort((a, b) => b.silentMs - a.silentMs);
  return bySilence.flatMap(({ nodeId, silentMs }, index) => {
    if (silentMs <= declareDeadMs) return [];
    // The one that was silent next longest: did it hear the head when this one had to decide?
    const other = bySilence[index === 0 ? 1 : 0];
    const hadCompany = other !== undefined && other.silentMs >= silentMs - selfFenceMs - trustMs;
    const mayWait = hadCompany || runsMs <= graceMs + declareDeadMs;
    return mayWait && silentMs <= graceMs + declareDeadMs ? [] : [nodeId];
  });
}
