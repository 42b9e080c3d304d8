// Goal: the raylet collects what its clients hold, and does not wait for one that is busy. Method: real sockets.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Endpoint } from "../core/base/endpoint.ts";
import type { Channel } from "../core/rpc/channel.ts";
import { listenForChannels } from "../core/rpc/channel-server.ts";
import { type JobConfigRecord, Local } from "../core/rpc/messages.ts";
import { openChannel } from "../core/rpc/open-channel.ts";
import { Clients } from "./clients.ts";

const TOKEN = "a token of this test, long enough";

test("listObjects gives each client's rows under its process and job; a silent one is left out", async () => {
  const dir = mkdtempSync(join(tmpdir(), "tsray-clients-"));
  const clients = new Clients();
  let missing = 2;
  let accepted = () => {};
  const bothAccepted = new Promise<void>((resolve) => {
    accepted = resolve;
  });
  const server = await listenForChannels({
    processId: "raylet",
    nodeId: "node",
    unixPath: join(dir, "r.sock"),
    host: undefined,
    token: TOKEN,
    onPeer: (link) => {
      link.onMessage = (message) => clients.onObjects(link, message[1] as number, message[2] as never);
      clients.add({
        link,
        job: { jobId: "job" } as JobConfigRecord,
        isDriver: link.peer.processId === "driver",
      });
      missing -= 1;
      if (missing === 0) accepted();
    },
  });
  const open = (processId: string, pid: number): Channel => {
    const self: Endpoint = { processId, nodeId: "node", unixPath: "", host: "", port: 0, pid };
    return openChannel(server.endpoint, { self, token: TOKEN });
  };
  try {
    const [driver] = [open("driver", 7), open("silent", 8)];
    await bothAccepted;
    const asked: unknown[] = [];
    driver.onMessage = (message) => {
      asked.push(message[2]);
      driver.send([Local.objects, message[1], { rows: [{ objectId: "1" }], objectsTotal: 4, bytesTotal: 5 }]);
    };
    expect(await clients.listObjects(100)).toEqual([
      {
        rows: [{ objectId: "1" }],
        objectsTotal: 4,
        bytesTotal: 5,
        processId: "driver",
        pid: 7,
        jobId: "job",
        isDriver: true,
      },
    ]);
    expect(asked).toEqual([100]);
    expect(await new Clients().listObjects(100)).toEqual([]);
  } finally {
    server.close();
    rmSync(dir, { recursive: true, force: true });
  }
});
