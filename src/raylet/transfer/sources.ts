/**
 * Which node is asked next for an object: those of this machine before the others, in random order so that load spreads.
 * Each is asked once; once more with insistence if it sent us to another that turned out to have no copy, and again if
 * only its connection broke. Pure.
 */
import type { Endpoint } from "../../core/base/endpoint.ts";

/** A source whose connection broke is asked again so often, unless something has come meanwhile. */
const BREAKS_MAX = 10;
/** Copies that are remembered for one object. */
const SOURCES_MAX = 64;

export interface Source {
  readonly node: Endpoint;
  /** It must serve us itself. */
  readonly insists: boolean;
}

export interface SourceRules {
  readonly selfNodeId: string;
  /** Whether a node runs on this machine. */
  readonly isNear: (node: Endpoint) => boolean;
  /** From 0 to below 1. */
  readonly random: () => number;
}

export class Sources {
  readonly #rules: SourceRules;
  readonly #known = new Set<string>();
  readonly #insisted = new Set<string>();
  readonly #breaks = new Map<string, number>();
  #left: Source[] = [];

  constructor(rules: SourceRules) {
    this.#rules = rules;
  }

  /** Adds nodes that are said to have a copy; those known already are not asked again. */
  add(nodes: readonly Endpoint[]): void {
    for (const node of nodes) {
      if (this.#known.has(node.nodeId) || this.#known.size >= SOURCES_MAX) continue;
      if (node.nodeId === this.#rules.selfNodeId) continue;
      this.#known.add(node.nodeId);
      this.#left.splice(Math.floor(this.#rules.random() * (this.#left.length + 1)), 0, {
        node,
        insists: false,
      });
    }
    const { isNear } = this.#rules;
    const near = this.#left.filter(({ insists, node }) => insists || isNear(node));
    this.#left = [...near, ...this.#left.filter((source) => !near.includes(source))];
  }

  /** `from` says that `to` has the object: that is asked next, and after it `from` again. */
  moved(from: Endpoint, to: Endpoint): void {
    const isNew = !this.#known.has(to.nodeId) && to.nodeId !== this.#rules.selfNodeId;
    const isLeft = this.#left.some(({ node }) => node.nodeId === to.nodeId);
    this.#left = this.#left.filter(({ node }) => node.nodeId !== to.nodeId);
    if (!this.#insisted.has(from.nodeId)) {
      this.#insisted.add(from.nodeId);
      this.#left.unshift({ node: from, insists: true });
    }
    if (isNew || isLeft) {
      this.#known.add(to.nodeId);
      this.#left.unshift({ node: to, insists: false });
    }
  }

  /**
   * The connection to a source broke: it is asked again after the others.
   * @param hasProgressed whether anything has come since the last time
   * @returns false: it has broken too often
   */
  broken(source: Source, hasProgressed: boolean): boolean {
    const breaks = hasProgressed ? 1 : (this.#breaks.get(source.node.nodeId) ?? 0) + 1;
    this.#breaks.set(source.node.nodeId, breaks);
    if (breaks > BREAKS_MAX) return false;
    this.#left.push(source);
    return true;
  }

  next(): Source | undefined {
    return this.#left.shift();
  }
}
