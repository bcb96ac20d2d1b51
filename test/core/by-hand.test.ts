// A RawNode driven by hand: three nodes in memory, ticked, their messages carried from one to the other. Nothing
// else is involved, so the same run gives the same trace.

import { expect, test } from "vitest";
import { MemoryStorage, type Message, MessageType, RawNode } from "../../src/core/index.js";

// #region by-hand
function electAndCommit(): { trace: string[]; committed: string[] } {
  const storages = [1n, 2n, 3n].map(() => MemoryStorage.withConfState({ voters: [1n, 2n, 3n] }));
  const nodes = storages.map((storage, i) => {
    const id = BigInt(i + 1);
    return new RawNode({ id, applied: 1n, randomInt: (min) => min + i }, storage);
  });
  const trace: string[] = [];
  const committed: string[] = [];
  const inFlight: Message[] = [];
  const work = (): void => {
    for (const [i, node] of nodes.entries()) {
      while (node.hasReady()) {
        const ready = node.ready();
        inFlight.push(...ready.messages);
        storages[i]?.append(ready.entries);
        if (ready.hardState !== undefined) storages[i]?.setHardState(ready.hardState);
        inFlight.push(...ready.persistedMessages);
        const light = node.advance(ready);
        inFlight.push(...light.messages);
        for (const entry of [...ready.committedEntries, ...light.committedEntries])
          if (entry.data.length > 0) committed.push(`${node.id}:${new TextDecoder().decode(entry.data)}`);
        node.advanceApply();
      }
    }
    for (const message of inFlight.splice(0)) {
      trace.push(`${message.from}→${message.to} ${MessageType[message.msgType]} ${message.index}`);
      nodes.find(({ id }) => id === message.to)?.step(message);
    }
  };
  while (nodes.every((node) => node.status().softState.raftState !== "leader")) {
    for (const node of nodes) node.tick();
    for (let round = 0; round < 8; round++) work();
  }
  nodes[0]?.propose(new Uint8Array(), new TextEncoder().encode("hello"));
  for (let round = 0; round < 8; round++) work();
  return { trace, committed };
}
// #endregion by-hand

test("three nodes driven by hand elect a leader and commit a proposal, twice with the same trace", () => {
  const first = electAndCommit();
  expect(first.committed).toEqual(["1:hello", "2:hello", "3:hello"]);
  expect(electAndCommit()).toEqual(first);
});
