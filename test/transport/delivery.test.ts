// Messages travel between two real HTTP/2 endpoints in one process: in order, whatever their sizes, and with
// heartbeats that large appends do not delay.

import { afterEach, describe, expect, it } from "vitest";
import { MessageType } from "../../src/gen/eraftpb_pb.js";
import { append, heartbeat } from "./support/doubles.js";
import { introduce, startTestNode, type TestNode } from "./support/pair.js";

const nodes: TestNode[] = [];

async function start(...options: Parameters<typeof startTestNode>): Promise<TestNode> {
  const node = await startTestNode(...options);
  nodes.push(node);
  return node;
}

afterEach(async () => {
  await Promise.all(nodes.splice(0).map((node) => node.close()));
});

describe("delivery between two nodes", () => {
  it("delivers appends of mixed sizes in the order in which they were sent", async () => {
    const one = await start({ id: 1n });
    const two = await start({ id: 2n });
    introduce(one, two);
    for (let index = 0n; index < 500n; index += 1n) {
      one.transport.send([append(1n, 2n, index, index % 7n === 0n ? 100_000 : 40)]);
      if (index % 50n === 0n) await new Promise((resolve) => setImmediate(resolve));
    }
    await two.inbox.until((inbox) => inbox.stepped.length === 500);
    expect(two.inbox.stepped.map((message) => message.index)).toEqual(
      Array.from({ length: 500 }, (_, index) => BigInt(index)),
    );
    expect(one.inbox.unreachable).toEqual([]);
  });

  it("delivers a heartbeat before appends that were queued before it", async () => {
    const one = await start({ id: 1n });
    const two = await start({ id: 2n });
    introduce(one, two);
    one.transport.send(Array.from({ length: 200 }, (_, index) => append(1n, 2n, BigInt(index), 100_000)));
    one.transport.send([heartbeat(1n, 2n)]);
    await two.inbox.until((inbox) => inbox.stepped.length === 201);
    const position = two.inbox.stepped.findIndex((message) => message.msgType === MessageType.MsgHeartbeat);
    expect(position).toBeLessThan(50);
  });
});
