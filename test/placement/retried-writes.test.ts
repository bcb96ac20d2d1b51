// A write whose answer is lost is sent again, through another node, and takes effect once: a real cluster, and a
// proxy that swallows the answer of a write that has been applied.

import { connect, createServer, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { PlacementClient } from "../../src/placement/client.js";
import { PlacementError } from "../../src/placement/client-error.js";
import { freePorts, TestCluster } from "./cluster.js";

/** Passes everything on, until it is told to keep the answers to itself. */
async function answerSwallower(target: string) {
  const [port = 0] = await freePorts(1);
  const [host, targetPort] = target.split(":");
  let swallowing = false;
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect({ host: host ?? "", port: Number(targetPort) });
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => sockets.delete(socket));
    }
    client.on("data", (chunk) => upstream.write(chunk));
    upstream.on("data", (chunk) => {
      if (!swallowing) client.write(chunk);
    });
    client.on("close", () => upstream.destroy());
    upstream.on("close", () => client.destroy());
  });
  await new Promise<void>((resolve) => {
    server.listen(port, "127.0.0.1", resolve);
  });
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  onTestFinished(async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    cut();
    await closed;
  });
  return {
    address: `127.0.0.1:${port}`,
    swallow: () => {
      swallowing = true;
    },
    cut,
  };
}

/** Writes "mine" to `k`, loses the answer, has somebody else write "theirs", and only then notices. */
async function loseAnswer(retryUnknown: boolean) {
  const cluster = await TestCluster.start(onTestFinished, 3);
  const [first = "", second = ""] = cluster.endpoints;
  const proxy = await answerSwallower(first);
  const client = new PlacementClient({
    endpoints: [proxy.address, second],
    random: () => 0,
    deadlineMs: 20_000,
    retryUnknown,
  });
  const other = new PlacementClient({ endpoints: cluster.endpoints, deadlineMs: 20_000 });
  onTestFinished(() => Promise.all([client.close(), other.close()]).then(() => undefined));
  await client.set("k", "start");
  proxy.swallow();
  const writing = client.set("k", "mine").catch((error: unknown) => error);
  await expect.poll(async () => (await other.get("k"))?.version, { timeout: 15_000 }).toBe(2n);
  const theirs = await other.set("k", "theirs");
  proxy.cut();
  const outcome = await writing;
  const now = await other.get("k");
  expect(Buffer.from(now?.value ?? []).toString()).toBe("theirs");
  expect([now?.version, now?.modRevision]).toEqual([3n, theirs.revision]);
  return { outcome, before: theirs.revision - 1n };
}

test("it gets the first answer, and does not undo what somebody wrote in between", async () => {
  const { outcome, before } = await loseAnswer(true);
  expect(outcome).toMatchObject({ revision: before, refused: false });
});

test("without retryUnknown it is not sent again, and says that nobody knows", async () => {
  const { outcome } = await loseAnswer(false);
  expect(outcome).toBeInstanceOf(PlacementError);
  expect(outcome).toMatchObject({ outcome: "unknown" });
});
