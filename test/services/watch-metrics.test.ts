// RaftMetricsService.WatchMetrics of real nodes over real sockets, in both protocols.

import { createClient } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { RaftMetricsService, Role } from "../../src/gen/service_pb.js";
import { errorDetail } from "../../src/services/connect-errors.js";
import { errorOf, PROTOCOLS, refusalOf, startGroup, transportTo } from "./nodes.js";

test.each(PROTOCOLS)(
  "metrics are told at once, when they change, and until the node stops, over %s",
  async (protocol) => {
    const { leader } = await startGroup(1);
    // Nothing is under way any more.
    await leader.node.propose(Buffer.from("before"));
    const client = createClient(RaftMetricsService, transportTo(leader, protocol));
    const stream = client.watchMetrics({ intervalMs: 100 })[Symbol.asyncIterator]();
    const first = (await stream.next()).value;
    expect(first).toEqual(await client.metrics({}));
    expect(first).toMatchObject({ id: 1n, role: Role.LEADER, clusterId: "services" });
    const waiting = stream.next();
    const { index } = await leader.node.propose(Buffer.from("word"));
    // Whatever was seen in between: it is told when the word is applied.
    let seen = (await waiting).value;
    while (seen !== undefined && seen.applied < index) seen = (await stream.next()).value;
    expect(seen?.applied).toBe(index);

    const end = errorOf(stream.next());
    await leader.close();
    expect(errorDetail(await end)?.reason).toBe("shuttingDown");
  },
);

test("an interval that nobody wants is refused", async () => {
  const { leader } = await startGroup(1);
  const client = createClient(RaftMetricsService, transportTo(leader));
  const ask = (intervalMs: number) => client.watchMetrics({ intervalMs })[Symbol.asyncIterator]().next();
  for (const intervalMs of [1, 99, 600_001]) {
    expect(await refusalOf(ask(intervalMs))).toEqual({
      reason: "invalidArgument",
      message: `interval_ms is ${intervalMs}: give 100 to 600000, or 0 for 1000`,
    });
  }
});
