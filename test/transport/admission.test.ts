// What the receiving side lets in, judged from outside with a plain Connect client that posts headers and bytes of
// its own: every refusal says why, an envelope is taken in whole or not at all, and the node is unaffected.

import { create, toBinary } from "@bufbuild/protobuf";
import { type Client, Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ConfChangeV2Schema, MessageSchema } from "../../src/gen/eraftpb_pb.js";
import { PlacementCenterService } from "../../src/gen/service_pb.js";
import { RaftNodeError } from "../../src/node/errors.js";
import { encodeMessages } from "../../src/transport/envelope.js";
import { append, heartbeat, snapshotMessage } from "./support/doubles.js";
import { startTestNode, type TestNode } from "./support/pair.js";

const HEADERS = { "raft-cluster-id": "test-cluster", "raft-from": "1", "raft-incarnation": "a" };

let node: TestNode;
let client: Client<typeof PlacementCenterService>;

beforeEach(async () => {
  node = await startTestNode({ id: 2n, limits: { maxEnvelopeMessages: 10 } });
  client = createClient(
    PlacementCenterService,
    createConnectTransport({ baseUrl: `http://${node.address}`, httpVersion: "2" }),
  );
});

afterEach(() => node.close());

async function refusal(work: Promise<unknown>): Promise<ConnectError> {
  try {
    await work;
  } catch (error) {
    return ConnectError.from(error);
  }
  throw new Error("it was taken in");
}

function post(message: Uint8Array[], headers: Record<string, string> = HEADERS): Promise<unknown> {
  return client.sendRaftMessage({ message }, { headers });
}

const GOOD = encodeMessages([heartbeat(1n, 2n)]);

describe("SendRaftMessage", () => {
  it("takes an envelope in, and a sender that knows only a single message field", async () => {
    await post(encodeMessages([append(1n, 2n, 5n), heartbeat(1n, 2n)]));
    expect(node.inbox.batches).toEqual([2]);
    await post(GOOD);
    expect(node.inbox.stepped).toHaveLength(3);
  });

  it("takes an envelope in from a gRPC client", async () => {
    const transport = createGrpcTransport({ baseUrl: `http://${node.address}` });
    await createClient(PlacementCenterService, transport).sendRaftMessage(
      { message: GOOD },
      { headers: HEADERS },
    );
    expect(node.inbox.stepped).toHaveLength(1);
  });

  it.each([
    {
      title: "no headers at all",
      headers: {},
      code: Code.InvalidArgument,
      says: /raft-cluster-id is missing/,
    },
    {
      title: "no sender",
      headers: { "raft-cluster-id": "test-cluster" },
      code: Code.InvalidArgument,
      says: /raft-from.*missing/,
    },
    ...["0", "-1", "1.5", "one", "18446744073709551616", "01"].map((id) => ({
      title: `the sender ${id}`,
      headers: { ...HEADERS, "raft-from": id },
      code: Code.InvalidArgument,
      says: /node id in decimal/,
    })),
    {
      title: "another cluster",
      headers: { ...HEADERS, "raft-cluster-id": "other" },
      code: Code.PermissionDenied,
      says: /belongs to cluster "test-cluster"/,
    },
    {
      title: "this node's own id",
      headers: { ...HEADERS, "raft-from": "2" },
      code: Code.InvalidArgument,
      says: /two nodes run with one id/,
    },
    {
      title: "a node that is no member",
      headers: { ...HEADERS, "raft-from": "66" },
      code: Code.PermissionDenied,
      says: /no member.*AddLearner/,
    },
  ])("refuses $title", async ({ headers, code, says }) => {
    node.inbox.admitted = (from) => from === 1n;
    const error = await refusal(post(GOOD, headers as Record<string, string>));
    expect(error.code).toBe(code);
    expect(error.rawMessage).toMatch(says);
    expect(node.inbox.stepped).toEqual([]);
    await post(GOOD);
    expect(node.inbox.stepped).toHaveLength(1);
  });

  it("takes nothing of an envelope in when one message of it is bad", async () => {
    const [good] = GOOD;
    for (const bad of [new Uint8Array([0xff]), toBinary(MessageSchema, create(MessageSchema, { to: 2n }))]) {
      const error = await refusal(post([good ?? bad, bad, good ?? bad]));
      expect(error.code).toBe(Code.InvalidArgument);
    }
    expect(node.inbox.stepped).toEqual([]);
  });

  it("says which message is for another node", async () => {
    const error = await refusal(post(encodeMessages([heartbeat(1n, 3n)])));
    expect(error.code).toBe(Code.InvalidArgument);
    expect(error.rawMessage).toMatch(/addressed to node 3, but this is node 2/);
  });

  it("refuses too many messages in one envelope", async () => {
    const error = await refusal(post(Array.from({ length: 30 }, () => GOOD[0] ?? new Uint8Array(0))));
    expect(error.code).toBe(Code.ResourceExhausted);
  });

  it("refuses a snapshot's body announced outside InstallSnapshot", async () => {
    const error = await refusal(post(encodeMessages([snapshotMessage(1n, 2n, "s-1", 100)])));
    expect(error.rawMessage).toMatch(/InstallSnapshot/);
    await post(encodeMessages([snapshotMessage(1n, 2n, "s-1", 0)]));
    expect(node.inbox.stepped).toHaveLength(1);
  });

  it.each([
    { code: "inboxFull", answer: Code.ResourceExhausted },
    { code: "nodeStopped", answer: Code.Unavailable },
  ] as const)("answers $code with a code of its own", async ({ code, answer }) => {
    node.inbox.refusal = new RaftNodeError(code, code);
    expect((await refusal(post(GOOD))).code).toBe(answer);
  });
});

describe("SendRaftConfChange", () => {
  it("is not served where nobody takes the change", async () => {
    const message = toBinary(ConfChangeV2Schema, create(ConfChangeV2Schema));
    const error = await refusal(client.sendRaftConfChange({ message }, { headers: HEADERS }));
    expect(error.code).toBe(Code.Unimplemented);
  });

  it("hands a change on and answers with what came of it; other bytes never get that far", async () => {
    const proposed: Uint8Array[] = [];
    const taker = await startTestNode({
      id: 3n,
      proposeConfChange: async (change) => {
        proposed.push(change);
        if (proposed.length > 1) throw new ConnectError("not the leader", Code.FailedPrecondition);
        return new Uint8Array([1, 2, 3]);
      },
    });
    try {
      const transport = createConnectTransport({ baseUrl: `http://${taker.address}`, httpVersion: "2" });
      const own = createClient(PlacementCenterService, transport);
      const message = toBinary(ConfChangeV2Schema, create(ConfChangeV2Schema, { changes: [{ nodeId: 4n }] }));
      expect([...(await own.sendRaftConfChange({ message }, { headers: HEADERS })).confState]).toEqual([
        1, 2, 3,
      ]);
      expect((await refusal(own.sendRaftConfChange({ message }, { headers: HEADERS }))).code).toBe(
        Code.FailedPrecondition,
      );
      const bad = own.sendRaftConfChange({ message: new Uint8Array([0xff]) }, { headers: HEADERS });
      expect((await refusal(bad)).code).toBe(Code.InvalidArgument);
      expect(proposed).toHaveLength(2);
    } finally {
      await taker.close();
    }
  });

  it("asks for the cluster", async () => {
    const error = await refusal(client.sendRaftConfChange({ message: new Uint8Array(0) }));
    expect(error.rawMessage).toMatch(/raft-cluster-id is missing/);
  });
});
