// The nodes of these tests look at their invariants after every input, also where a test calls the RawNode itself.

import { expect, test } from "vitest";
import { InvariantViolation, type RawNode } from "../../src/core/index.js";
import { TestNode } from "../support/test-node.js";

test.each<{ input: string; give: (node: RawNode) => unknown }>([
  { input: "a tick", give: (node) => node.tick() },
  { input: "a proposal", give: (node) => node.propose(new Uint8Array(), new Uint8Array()) },
  { input: "a report", give: (node) => node.reportUnreachable(2n) },
  { input: "a Ready that is taken", give: (node) => node.ready() },
])("$input shows that something is wrong with the node", ({ give }) => {
  const { node } = new TestNode(1n, { voters: [1n, 2n] });
  node.raft.log.persisted = 7n;
  expect(() => give(node)).toThrow(InvariantViolation);
});
