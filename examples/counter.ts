// A replicated counter: the smallest state machine worth embedding. `startCounter` runs one node of it.
// #region counter
import { clientRoutes, embedRaftNode, type StateMachine } from "raft-node";

/** Adds up 64-bit numbers. Kept in memory: after a restart it is rebuilt from a snapshot and the log. */
export class Counter implements StateMachine {
  appliedIndex = 0n;
  readonly durableIndex = 0n;
  total = 0n;

  apply(commands: readonly { readonly data: Uint8Array }[], appliedIndex: bigint): Uint8Array[] {
    this.appliedIndex = appliedIndex;
    return commands.map(({ data }) => {
      // A throw would stop every node: what makes no sense gets an answer that says so.
      if (data.length !== 8) return new Uint8Array();
      this.total += Buffer.from(data).readBigInt64BE();
      return toBytes(this.total);
    });
  }

  query(): Uint8Array {
    return toBytes(this.total);
  }

  async snapshot() {
    const { appliedIndex, total } = this;
    const write = (sink: (chunk: Uint8Array) => Promise<void>) => sink(toBytes(total));
    return { appliedIndex, write, release: () => {} };
  }

  async restore(appliedIndex: bigint, body: AsyncIterable<Uint8Array>): Promise<void> {
    const chunks: Uint8Array[] = [];
    for await (const chunk of body) chunks.push(chunk);
    this.total = Buffer.concat(chunks).readBigInt64BE();
    this.appliedIndex = appliedIndex;
  }

  async close(): Promise<void> {}
}

type Member = { id: bigint; address: string };
export function startCounter(id: bigint, port: number, dataDir: string, members: Member[]) {
  const listen = { host: "127.0.0.1", port };
  const stateMachine = async () => new Counter();
  const routes = clientRoutes; // RaftClientService, beside those for operators
  const compaction = { snapshots: "always" } as const; // the log is cut behind them
  const options = { id, clusterId: "counter", dataDir, listen, members, stateMachine, routes, compaction };
  return embedRaftNode(options);
}

export function toBytes(value: bigint): Uint8Array {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(value);
  return bytes;
}
// #endregion counter
