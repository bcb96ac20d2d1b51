// What the benchmark asks of a node in another process, and what it is answered.

export interface Latencies {
  readonly ops: number;
  readonly failures: number;
  readonly seconds: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

/** Since the process started. */
export interface Counts {
  readonly cpuSeconds: number;
  /** Batches of the log: one fsync each. */
  readonly fsyncs: number;
  /** Envelopes that were sent to peers. */
  readonly rpcs: number;
}

export interface Position {
  readonly leads: boolean;
  readonly applied: number;
}

export interface Memory {
  readonly rssBytes: number;
  /** Of it, what is not a file: the log is mapped into memory, and the system takes its pages back at will. */
  readonly ownBytes: number;
}

/** Milliseconds since the epoch: of the processes of one machine. */
export interface TakenOver {
  readonly ledAtMs: number;
  readonly appliedAtMs: number;
}

export interface Calls {
  /** Proposes as leader, always `inFlight` at once, until `endLoad`. */
  startLoad: { args: { readonly inFlight: number; readonly bytes: number }; answer: true };
  endLoad: { args: object; answer: Latencies };
  counts: { args: object; answer: Counts };
  position: { args: object; answer: Position };
  /** The highest memory use since the last call. */
  peakMemory: { args: object; answer: Memory };
  /** Resolves when a proposal of this node was applied here: it leads. */
  proposeWhenLeading: { args: object; answer: TakenOver | "gaveUp" };
  giveUp: { args: object; answer: true };
  addLearner: { args: { readonly id: number; readonly address: string }; answer: true };
}

export type CallName = keyof Calls;

export interface Call<Name extends CallName = CallName> {
  readonly callId: number;
  readonly name: Name;
  readonly args: Calls[Name]["args"];
}

export type Answer =
  | { readonly callId: number; readonly answer: Calls[CallName]["answer"] }
  | { readonly callId: number; readonly error: string };

/** How a node is started: as JSON, in an environment variable. */
export interface NodeSettings {
  readonly id: number;
  readonly dataDir: string;
  readonly port: number;
  /** Empty: waits to be added. */
  readonly members: readonly { readonly id: number; readonly address: string }[];
  /** The size of the state, which snapshots carry. */
  readonly stateBytes: number;
  /** The state claims to survive a crash, so that the log is compacted. Not for nodes that are restarted. */
  readonly durableState: boolean;
}

export const SETTINGS_VARIABLE = "RAFT_NODE_BENCH_NODE";
export const READY = "ready";
