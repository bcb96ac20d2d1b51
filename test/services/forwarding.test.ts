// What a node that does not lead does with calls, by configuration: forwards them, or says who leads; and the interceptor
// that embedders put before services of their own. Real nodes and sockets.

import { Code, type ConnectRouter, createClient } from "@connectrpc/connect";
import { expect, test } from "vitest";
import type { EmbedOptions } from "../../src/embed.js";
import { RaftClientService, ReadConsistency } from "../../src/gen/service_pb.js";
import { clientRoutes } from "../../src/services/client-service.js";
import { errorDetail } from "../../src/services/connect-errors.js";
import { leaderOnly } from "../../src/services/leader-only.js";
import type { Words } from "../support/words.js";
import { addressesFor, errorOf, leaderOf, PATIENCE, PROTOCOLS, startWords, transportTo } from "./nodes.js";

async function group(options: Partial<EmbedOptions<Words>>) {
  const members = await addressesFor(3);
  const nodes = await Promise.all(members.map((at) => startWords(at, { members, ...options })));
  const leader = await leaderOf(nodes);
  const follower = nodes.find((embedded) => embedded !== leader);
  if (follower === undefined) throw new Error("there are three");
  const leaderAddress = members.find(({ id }) => id === leader.node.id)?.address;
  return { leader, follower, leaderAddress };
}

const ownService: EmbedOptions<Words>["routes"] = ({ node, calls, stateMachine }) =>
  clientRoutes({
    node,
    calls,
    stateMachine: {
      get appliedIndex() {
        return stateMachine.appliedIndex;
      },
      query: () => Buffer.from(stateMachine.text),
    },
  });

const command = Buffer.from("word");

test.each(PROTOCOLS)("with forwarding a follower does what it is asked, over %s", async (protocol) => {
  const { follower } = await group({ routes: ownService });
  const client = createClient(RaftClientService, transportTo(follower, protocol));
  expect(Buffer.from((await client.write({ command })).result).toString()).toBe("word");
  expect(Buffer.from((await client.read({})).result).toString()).toBe("word");
});

test.each(PROTOCOLS)(
  "without it a follower says who leads, and serves stale reads, over %s",
  async (protocol) => {
    const { leader, follower, leaderAddress } = await group({ routes: ownService, forwarding: "refuse" });
    const client = createClient(RaftClientService, transportTo(follower, protocol));
    const errors = await Promise.all([
      errorOf(client.write({ command })),
      errorOf(client.read({})),
      errorOf(client.read({ consistency: ReadConsistency.LEADER_LEASE })),
    ]);
    for (const error of errors) {
      expect(error.code).toBe(Code.FailedPrecondition);
      expect(errorDetail(error)).toMatchObject({
        reason: "notLeader",
        leaderId: leader.node.id,
        leaderAddress,
        retryAfterMs: 0,
      });
    }
    const there = createClient(RaftClientService, transportTo(leader, protocol));
    await there.write({ command });
    expect(Buffer.from((await there.read({})).result).toString()).toBe("word");
    const stale = { consistency: ReadConsistency.SERIALIZABLE };
    await expect
      .poll(async () => Buffer.from((await client.read(stale)).result).toString(), PATIENCE)
      .toBe("word");
  },
);

test.each(PROTOCOLS)(
  "the interceptor lets only the leader answer an embedder's service, over %s",
  async (protocol) => {
    const { leader, follower, leaderAddress } = await group({
      routes:
        ({ node }) =>
        (router: ConnectRouter) =>
          router.service(
            RaftClientService,
            { write: () => ({ result: Buffer.from("the embedder's own"), index: node.id }) },
            { interceptors: [leaderOnly(node)] },
          ),
    });
    const answer = await createClient(RaftClientService, transportTo(leader, protocol)).write({ command });
    expect(answer.index).toBe(leader.node.id);
    const error = await errorOf(
      createClient(RaftClientService, transportTo(follower, protocol)).write({ command }),
    );
    expect(error.code).toBe(Code.FailedPrecondition);
    expect(errorDetail(error)).toMatchObject({ reason: "notLeader", leaderAddress });
  },
);
