// A state machine that costs nothing, so that what is measured is the rest; with a body of any size for snapshots.

import type { Command, SnapshotSink, StateMachine, StateMachineSnapshot } from "../../src/node/ports.js";

const CHUNK = new Uint8Array(256 * 1024).map((_, at) => (at * 2_654_435_761) >>> 24);
const RESULT = new Uint8Array(0);

export class BenchMachine implements StateMachine {
  appliedIndex = 0n;

  constructor(
    private readonly stateBytes: number,
    private readonly claimsToBeDurable: boolean,
  ) {}

  get durableIndex(): bigint {
    return this.claimsToBeDurable ? this.appliedIndex : 0n;
  }

  apply(commands: readonly Command[], appliedIndex: bigint): readonly Uint8Array[] {
    this.appliedIndex = appliedIndex;
    return commands.map(() => RESULT);
  }

  async snapshot(): Promise<StateMachineSnapshot> {
    const { appliedIndex, stateBytes } = this;
    const write = async (sink: SnapshotSink): Promise<void> => {
      for (let left = Math.max(stateBytes, 1); left > 0; left -= CHUNK.length) {
        await sink(left < CHUNK.length ? CHUNK.subarray(0, left) : CHUNK);
      }
    };
    return { appliedIndex, write, release: () => {} };
  }

  async restore(appliedIndex: bigint, body: AsyncIterable<Uint8Array>): Promise<void> {
    for await (const _ of body);
    this.appliedIndex = appliedIndex;
  }

  async close(): Promise<void> {}
}
