// Three RawNodes on memory storage in one process, and messages carried between them as object references: what the
// core itself costs, without disk and network. The shape of etcd/raft's BenchmarkProposal3Nodes.

import { MemoryStorage, type Message, RawNode } from "../src/core/index.js";

interface Member {
  readonly node: RawNode;
  readonly storage: MemoryStorage;
}

export class CoreCluster {
  readonly #members: readonly Member[];
  #inFlight: Message[] = [];
  /** Entries that node 1 has handed out as committed. */
  committed = 0;

  constructor(size: number) {
    const voters = Array.from({ length: size }, (_, position) => BigInt(position + 1));
    this.#members = voters.map((id) => {
      const storage = MemoryStorage.withConfState({ voters });
      const config = { id, applied: 1n, randomInt: (min: number) => min, batchAppend: true };
      return { storage, node: new RawNode(config, storage) };
    });
  }

  /** The one that {@link elect} makes leader. */
  get first(): RawNode {
    const [member] = this.#members;
    if (member === undefined) throw new Error("a cluster of nobody");
    return member.node;
  }

  elect(): void {
    this.first.campaign();
    this.settle();
  }

  /** Works until nothing is left to say. */
  settle(): void {
    do {
      for (const message of this.#take()) this.#members[Number(message.to) - 1]?.node.step(message);
      for (const member of this.#members) this.#work(member);
    } while (this.#inFlight.length > 0);
  }

  #take(): Message[] {
    const taken = this.#inFlight;
    this.#inFlight = [];
    return taken;
  }

  #work({ node, storage }: Member): void {
    while (node.hasReady()) {
      const ready = node.ready();
      for (const message of ready.messages) this.#inFlight.push(message);
      storage.append(ready.entries);
      if (ready.hardState !== undefined) storage.setHardState(ready.hardState);
      for (const message of ready.persistedMessages) this.#inFlight.push(message);
      const light = node.advanceAppend(ready);
      for (const message of light.messages) this.#inFlight.push(message);
      if (node.id === 1n) this.committed += ready.committedEntries.length + light.committedEntries.length;
      node.advanceApply();
    }
  }

  /** Forgets applied entries, as an embedder does: otherwise the log itself is what is measured. */
  compact(): void {
    for (const { node, storage } of this.#members) storage.compact(node.raft.log.applied);
  }
}
