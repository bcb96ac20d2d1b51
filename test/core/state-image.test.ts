// The tests of rejected inputs are worth as much as the picture of a node's state that they compare: it has to show
// every change, also those of private fields, and nothing else.

import { describe, expect, test } from "vitest";
import { Network } from "../support/network.js";
import { imageOf, stateImage } from "../support/state-image.js";
import { bytes, type TestNode } from "../support/test-node.js";

function leader(): TestNode {
  const network = Network.ofSize(3);
  network.campaign(1);
  network.propose(1, "x");
  return network.node(1);
}

describe("the image of a node", () => {
  test("is the same for the same state, and for a node that went the same way", () => {
    const node = leader();
    const image = stateImage(node.node);
    expect(stateImage(node.node)).toBe(image);
    expect(stateImage(leader().node)).toBe(image);
  });

  test.each<{ what: string; change: (node: TestNode) => void }>([
    { what: "a tick", change: (node) => node.node.tick() },
    { what: "a proposal", change: (node) => node.node.propose(new Uint8Array(), bytes("y")) },
    { what: "a read that waits", change: (node) => node.node.readIndex(bytes("r")) },
    { what: "a Ready that was taken", change: (node) => node.node.ready() },
    { what: "a term", change: ({ raft }) => Object.assign(raft, { term: raft.term + 1n }) },
    { what: "a vote in the tally", change: ({ raft }) => raft.tracker.recordVote(9n, true) },
    { what: "an append in the window", change: (node) => node.progress(2).inflights.add(3n, 10) },
    { what: "a message to be sent", change: (node) => node.node.ping() },
    { what: "a setting", change: (node) => node.node.setPriority(7n) },
    { what: "an entry in the storage", change: ({ storage }) => storage.compact(1n) },
    {
      what: "one bit of one entry",
      change: ({ storage }) => {
        const [entry] = storage.entries(2n, 3n, 100, { canAsync: false, purpose: "other" });
        entry?.data.set([0]);
      },
    },
  ])("shows $what", ({ change }) => {
    const node = leader();
    const before = stateImage(node.node);
    change(node);
    expect(stateImage(node.node)).not.toBe(before);
  });
});

test("an image shows fields of every kind, in the order of their names, and what is the same object", () => {
  class Holder {
    readonly #hidden = new Map([[2n, "two"]]);
    readonly open = [this.#hidden, new Uint8Array([1, 2])];
    readonly late = undefined;
  }
  expect(imageOf(new Holder()).split("\n")).toEqual([
    " = Holder of 3",
    ".#hidden = Map of 1",
    '.#hidden.[2n] = "two"',
    ".late = undefined",
    ".open = Array of 2",
    ".open.0 = see .#hidden",
    ".open.1 = <1 2>",
  ]);
});
