// What an operator asks of one node's log, by RaftAdminService.Compact over real sockets in both protocols: it is cut, no
// further than its state is safe, and its file gets smaller.

import { createClient } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { RaftAdminService } from "../../src/gen/service_pb.js";
import { Words } from "../support/words.js";
import { addressesFor, PROTOCOLS, startNode, transportTo } from "./nodes.js";

/** Makes durable what the test says. */
class Durable extends Words {
  override text = "";

  override apply(...[commands, appliedIndex]: Parameters<Words["apply"]>) {
    this.appliedIndex = appliedIndex;
    return commands.map(() => new Uint8Array(0));
  }
}

test.each(PROTOCOLS)(
  "a log is cut up to what is durable, and its file rewritten, over %s",
  async (protocol) => {
    const [at] = await addressesFor(1);
    if (at === undefined) throw new Error("one was made");
    const { node, stateMachine } = await startNode(at, {
      members: [at],
      stateMachine: async () => new Durable(),
    });
    await node.leaderKnown();
    for (let count = 0; count < 50; count += 1) await node.propose(Buffer.alloc(100_000, count));
    const { firstIndex, lastIndex } = node.status();
    const admin = createClient(RaftAdminService, transportTo(at, protocol));

    // Nothing is durable yet: nothing may go.
    expect(await admin.compact({})).toMatchObject({ firstIndex });
    stateMachine.durableIndex = lastIndex - 10n;
    expect(await admin.compact({ upToIndex: lastIndex - 20n })).toMatchObject({
      firstIndex: lastIndex - 19n,
    });
    // A wish that goes too far is fulfilled as far as may be; one that lies behind changes nothing.
    const before = await admin.compact({ upToIndex: lastIndex });
    expect(before.firstIndex).toBe(lastIndex - 9n);
    expect(await admin.compact({ upToIndex: 1n })).toMatchObject({ firstIndex: lastIndex - 9n });
    expect(before.freeBytes).toBeGreaterThan(3_000_000n);

    const after = await admin.compact({ file: true });
    expect(after.firstIndex).toBe(lastIndex - 9n);
    expect(after.fileBytes).toBeLessThan(before.fileBytes / 2n);
    await node.propose(Buffer.from("goes on"));
  },
);
