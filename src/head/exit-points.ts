/**
 * The points at which tests have the head die (core/rpc/exit-points.ts): around each write of its store and each call of
 * its service.
 */
import type { ExitPoint } from "../core/rpc/exit-points.ts";
import type { StateStore } from "./state-store/state-store.ts";

export function storeWithExits(store: StateStore, at: ExitPoint): StateStore {
  const around = async <R>(table: string, write: () => Promise<R>): Promise<R> => {
    at.reach(`committing ${table}`);
    const answer = await write();
    at.reach(`committed ${table}`);
    return answer;
  };
  return {
    get: (...args) => store.get(...args),
    list: (...args) => store.list(...args),
    keys: (...args) => store.keys(...args),
    close: () => store.close(),
    put: (table, ...rest) => around(table, () => store.put(table, ...rest)),
    delete: (table, ...rest) => around(table, () => store.delete(table, ...rest)),
  };
}

type Handler = (call: unknown, callback?: (...answer: unknown[]) => void) => unknown;

/** Handlers of a service, by the names of its methods in camel case. */
export function handlersWithExits<H extends object>(handlers: H, at: ExitPoint): H {
  const wrapped = Object.entries(handlers as Record<string, Handler>).map(([key, serve]) => {
    const method = `${key.charAt(0).toUpperCase()}${key.slice(1)}`;
    const handler: Handler = (call, callback) => {
      at.reach(`asked ${method}`);
      if (callback === undefined) return serve(call);
      return serve(call, (...answer) => {
        at.reach(`served ${method}`);
        callback(...answer);
        at.reachLater(`replied ${method}`);
      });
    };
    return [key, handler];
  });
  return Object.fromEntries(wrapped) as H;
}
