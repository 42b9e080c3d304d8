/** Rows about calls of actors. Names are those that `ray microbenchmark` prints, where it has the row. */
import { get, kill, type ObjectRef } from "../index.ts";
import { expectEqual } from "./expect.ts";
import type { RateWork, Row } from "./measure.ts";
import {
  AsyncServer,
  type AsyncServerHandle,
  Client,
  callInTurn,
  OK,
  Server,
  type ServerHandle,
} from "./workload.ts";

const BATCH = 1000;
/** Servers of the rows 1:n and n:n, and clients of n:n with a ref. */
const N = 2;
const CALLS_EACH = 5000;
const CALLERS = 4;
const CALLS_WITH_REF = 1000;

type Handle = ServerHandle | AsyncServerHandle;

export const ACTOR_ROWS: readonly Row[] = [
  {
    name: "1:1 actor calls sync",
    unit: "calls/s",
    what: "one trivial call, get, repeat",
    prepare: () => oneByOne(Server.remote()),
  },
  {
    name: "1:1 actor calls async",
    unit: "calls/s",
    what: "1,000 trivial calls, then get them all",
    prepare: () => atOnce(Server.remote()),
  },
  {
    name: "1:1 actor calls concurrent",
    unit: "calls/s",
    what: "the same, of an actor with maxConcurrency 16",
    prepare: () => atOnce(Server.options({ maxConcurrency: 16 }).remote()),
  },
  {
    name: "1:n actor calls async",
    unit: "calls/s",
    what: "one client actor sends 5,000 calls to each of 2 actors and gets them all",
    prepare: () => oneToMany(() => Server.remote()),
  },
  {
    name: "n:n actor calls async",
    unit: "calls/s",
    what: "4 tasks, each sends 5,000 calls to 2 actors in turn and gets them all",
    prepare: () => manyToMany(() => Server.remote()),
  },
  {
    name: "n:n actor calls with arg async",
    unit: "calls/s",
    what: "2 pairs of client and server actor: each client puts 0 and sends 1,000 calls with that ref",
    prepare: () => {
      const servers = Array.from({ length: N }, () => Server.remote());
      const clients = servers.map((server) => Client.remote([server]));
      return counted(
        N * CALLS_WITH_REF,
        () => get(clients.map((client) => client.callAllWithRef.remote(CALLS_WITH_REF))),
        [...servers, ...clients],
      );
    },
  },
  {
    name: "1:1 async-actor calls sync",
    unit: "calls/s",
    what: "one trivial call of an async method (1,000 may run at a time), get, repeat",
    prepare: () => oneByOne(AsyncServer.remote()),
  },
  {
    name: "1:1 async-actor calls async",
    unit: "calls/s",
    what: "1,000 trivial calls of an async method, then get them all",
    prepare: () => atOnce(AsyncServer.remote()),
  },
  {
    name: "1:1 async-actor calls with args async",
    unit: "calls/s",
    what: "the same with an integer as argument",
    prepare: () => {
      const server = AsyncServer.remote();
      return batch(server, (i) => server.smallValueWithArg.remote(i));
    },
  },
  {
    name: "1:n async-actor calls async",
    unit: "calls/s",
    what: "one client actor sends 5,000 calls to each of 2 async actors and gets them all",
    prepare: () => oneToMany(() => AsyncServer.remote()),
  },
  {
    name: "n:n async-actor calls async",
    unit: "calls/s",
    what: "4 tasks, each sends 5,000 calls to 2 async actors in turn and gets them all",
    prepare: () => manyToMany(() => AsyncServer.remote()),
  },
];

function oneByOne(server: Handle): RateWork {
  let value: string | undefined;
  return {
    amount: 1,
    run: async () => {
      value = await server.smallValue.remote();
    },
    check: () => expectEqual(value, OK),
    close: () => void kill(server),
  };
}

function atOnce(server: Handle): RateWork {
  return batch(server, () => server.smallValue.remote());
}

function batch(server: Handle, call: (i: number) => ObjectRef<string>): RateWork {
  let values: readonly string[] = [];
  return {
    amount: BATCH,
    run: async () => {
      values = await get(Array.from({ length: BATCH }, (_, i) => call(i)));
    },
    check: () => expectEqual(values.filter((value) => value === OK).length, BATCH),
    close: () => void kill(server),
  };
}

function oneToMany(makeServer: () => Handle): RateWork {
  const servers = Array.from({ length: N }, makeServer);
  const client = Client.remote(servers);
  return counted(N * CALLS_EACH, () => get([client.callAll.remote(CALLS_EACH)]), [...servers, client]);
}

function manyToMany(makeServer: () => Handle): RateWork {
  const servers = Array.from({ length: N }, makeServer);
  return counted(
    CALLERS * CALLS_EACH,
    () => get(Array.from({ length: CALLERS }, () => callInTurn.remote(servers, CALLS_EACH))),
    servers,
  );
}

/** Work whose parts say how many calls gave what they should. */
function counted(
  calls: number,
  run: () => Promise<readonly number[]>,
  actors: readonly Parameters<typeof kill>[0][],
): RateWork {
  let ok = 0;
  return {
    amount: calls,
    run: async () => {
      ok = (await run()).reduce((sum, count) => sum + count, 0);
    },
    check: () => expectEqual(ok, calls),
    close: () => actors.forEach((actor) => void kill(actor)),
  };
}
