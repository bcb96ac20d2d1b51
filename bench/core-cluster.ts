// Three RawNodes on memory storage in one process, and messages carried between them as object references: what the
// core itself costs, without disk and network. The shape of etcd/raft's BenchmarkProposal3Nodes.

import { MemoryStorage, type Message, RawNode } from "../src/core/index.js";

export class CoreCluster {
  readonly nodes: RawNode[];
  readonly #storages: MemoryStorage[];
  #inFlight: Message[] = [];
  /** Entries with data that node 1 has handed out as committed. */
  committed = 0;

  constructor(size: number) {
    const voters = Array.from({ length: size }, (_, position) => BigInt(position + 1));
    this.#storages = voters.map(() => MemoryStorage.withConfState({ voters }));
    this.nodes = this.#storages.map(
      (storage, position) =>
        new RawNode(
          { id: BigInt(position + 1), applied: 1n, randomInt: (min) => min, batchAppend: true },
          storage,
        ),
    );
  }

  elect(): void {
    this.nodes[0]?.campaign();
    this.settle();
  }

  /** Works until nothing is left to say. */
  settle(): void {
    do {
      for (const message of this.#take()) this.nodes[Number(message.to) - 1]?.step(message);
      for (const [position, node] of this.nodes.entries()) this.#work(node, position);
    } while (this.#inFlight.length > 0);
  }

  #take(): Message[] {
    const taken = this.#inFlight;
    this.#inFlight = [];
    return taken;
  }

  #work(node: RawNode, position: number): void {
    const storage = this.#storages[position];
    if (storage === undefined) return;
    while (node.hasReady()) {
      const ready = node.ready();
      for (const message of ready.messages) this.#inFlight.push(message);
      storage.append(ready.entries);
      if (ready.hardState !== undefined) storage.setHardState(ready.hardState);
      for (const message of ready.persistedMessages) this.#inFlight.push(message);
      const light = node.advanceAppend(ready);
      for (const message of light.messages) this.#inFlight.push(message);
      if (position === 0) this.committed += ready.committedEntries.length + light.committedEntries.length;
      node.advanceApply();
    }
  }

  /** Forgets applied entries, as an embedder does: otherwise the log itself is what is measured. */
  compact(): void {
    for (const [position, storage] of this.#storages.entries()) {
      const node = this.nodes[position];
      if (node !== undefined) storage.compact(node.raft.log.applied);
    }
  }
}
