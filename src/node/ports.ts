// What the runtime needs from the world, and what the world may ask of the runtime. Types only: the disk, the
// network and the clock stand behind these, real in production and simulated in tests.

import type { Storage } from "../core/log/storage.js";
import type { LogIndex, NodeId, Term } from "../core/types.js";
import type { Entry, HardState, Message, Snapshot, SnapshotMetadata } from "../gen/eraftpb_pb.js";
import type { MembershipRecord, SnapshotDescriptor } from "../gen/records_pb.js";

/** Structured logs; `pino` fits as it is. */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** Undoes what it was returned for. Calling it twice is harmless. */
export type Cancel = () => void;

/** Tells that nobody waits for a call any more. Says what an AbortSignal says, at a fraction of its price. */
export interface CallEnding {
  readonly hasEnded: boolean;
  /** Calls `listener` once, when it ends; never when it has ended already. */
  onEnd(listener: () => void): Cancel;
}

/** What the context of a handler may offer beside connect-es's own parts, so that a small call need not pay for those. */
export interface LeanCallParts {
  readonly ending: CallEnding;
  hasRequestHeader(name: string): boolean;
}

/** The only source of time in the runtime. */
export interface Clock {
  /** Milliseconds of a clock that never goes back; the origin means nothing. */
  nowMs(): number;
  after(delayMs: number, run: () => void): Cancel;
  every(periodMs: number, run: () => void): Cancel;
  /** Runs once the events that are waiting now have been handled: `setImmediate`. */
  soon(run: () => void): void;
}

/** What one Ready asks to be made durable, as one atomic write: snapshot first, then entries, then hard state. */
export interface LogWrite {
  readonly snapshot: Snapshot | undefined;
  readonly entries: readonly Entry[];
  readonly hardState: HardState | undefined;
  /** False: may be written whenever something else is. */
  readonly mustSync: boolean;
}

/**
 * - `ok`: there is room for everything.
 * - `full`: new commands are refused. What makes room, what changes the membership, and what a leader sends still
 *   goes, out of a reserve.
 * - `exhausted`: the reserve is used up too: entries that a leader sends count as lost on their way.
 */
export type SpaceState = "ok" | "full" | "exhausted";

/** Keeps an eye on the room that is left for the log, so that the disk is never really full. */
export interface SpaceWatch {
  readonly state: SpaceState;
  /** Calls `listener` when the state has changed, and after every further look while it is not `ok`. */
  watch(listener: (state: SpaceState) => void): Cancel;
}

/** The Raft log and everything else that a node must not forget. */
export interface DurableLog {
  /** Absent: there is always room. */
  readonly space?: SpaceWatch | undefined;
  /** What the core reads. Serves a write from the moment `append` was called, durable or not. */
  readonly storage: Storage;
  /** The membership that was saved last, with the index as of which it holds. */
  readonly membership: MembershipRecord;

  /**
   * Takes a write in, in call order. Resolves when it, and every write before it, is on disk. Writes that arrive
   * while the disk is busy share the next fsync. Rejects for good after the first failure: the node must stop.
   */
  append(write: LogWrite): Promise<void>;

  /** Resolves when the membership is on disk. Must be awaited before the entry that caused it counts as applied. */
  saveMembership(record: MembershipRecord): Promise<void>;

  /** Forgets entries up to and including `index`, which the state machine must hold durably; keeps its term. */
  compact(index: LogIndex): Promise<void>;

  /**
   * Gives what is free in its file back to the file system. Resolves with whether that was done: it may be impossible
   * for now. Absent: there is no such file.
   */
  compactFile?(): Promise<boolean>;

  /** Of its file. Never waits. */
  stats?(): { readonly fileBytes: number; readonly freeBytes: number };

  /**
   * Called when the core asked for a snapshot that does not exist: for peer `to`, covering at least `index`. The
   * runtime makes one and the core asks again.
   */
  onSnapshotWanted: (index: LogIndex, to: NodeId) => void;

  /** Waits for what was appended, then lets go of the files. */
  close(): Promise<void>;
}

/** Where the bytes of a snapshot go, in order. Resolves when it can take more. */
export type SnapshotSink = (chunk: Uint8Array) => Promise<void>;

/** Bodies of snapshots, as files with a checksum. A name stands for a complete and durable file, always. */
export interface SnapshotStore {
  /** The newest complete snapshot; its `data` is an encoded SnapshotDescriptor. */
  latest(): Snapshot | undefined;

  /**
   * Writes a new body through `write`, makes it durable, and returns the snapshot that describes it. Older
   * bodies are removed when no reader holds them.
   */
  create(
    metadata: SnapshotMetadata,
    membership: MembershipRecord,
    write: (sink: SnapshotSink) => Promise<void>,
  ): Promise<Snapshot>;

  /** Opens a complete body. @throws SnapshotNotFound when it was replaced meanwhile. */
  openRead(snapshotId: string): Promise<SnapshotReader>;

  /** Begins or resumes receiving a body. */
  receive(descriptor: SnapshotDescriptor): Promise<SnapshotReceiver>;

  /** Makes a received body the latest snapshot; called when the core has accepted it. Removes older ones. */
  install(snapshot: Snapshot): Promise<void>;
}

export interface SnapshotReader {
  readonly sizeBytes: number;
  /** Up to `maxBytes` from `offset`; empty at the end. */
  read(offset: number, maxBytes: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

export interface SnapshotReceiver {
  /** What is already on disk from an earlier attempt: the offset to go on from. */
  readonly receivedBytes: number;
  /** @throws if `offset` is not `receivedBytes` or the announced size would be exceeded. */
  write(offset: number, data: Uint8Array): Promise<void>;
  /** Checks size and checksum and makes the body durable. @throws, and forgets the body, when they differ. */
  finish(): Promise<void>;
  /** Keeps what was received for a later attempt. */
  suspend(): Promise<void>;
}

/** One committed command. */
export interface Command {
  readonly index: LogIndex;
  readonly term: Term;
  readonly data: Uint8Array;
}

/**
 * What the log is for. Calls never overlap, except that `snapshot().write` may run beside `apply`.
 * It keeps its own applied index together with its state, so that a restart goes on from where the state is.
 */
export interface StateMachine {
  /** The last index that the state contains. 0 when blank. */
  readonly appliedIndex: LogIndex;
  /** The last index that the state would still contain after a crash. The log is kept beyond it. */
  readonly durableIndex: LogIndex;

  /**
   * Applies commands in order and moves to `appliedIndex`, which is at least the last command's index (entries
   * without a command move it too). Returns one result per command: what its proposer gets.
   * It must be deterministic, and a throw stops the node: a command that makes no sense returns a result that says so.
   */
  apply(
    commands: readonly Command[],
    appliedIndex: LogIndex,
  ): readonly Uint8Array[] | Promise<readonly Uint8Array[]>;

  /**
   * Answers a question about the state as it is now, and changes nothing. What `RaftClientService.Read` calls; a state
   * machine without it can only be written to there. A throw is answered to whoever asked.
   */
  query?(query: Uint8Array): Uint8Array | Promise<Uint8Array>;

  /** Pins the state as it is now. */
  snapshot(): Promise<StateMachineSnapshot>;

  /** Replaces the state by a snapshot's body. After a crash half way, it is called again with the same body. */
  restore(appliedIndex: LogIndex, body: AsyncIterable<Uint8Array>): Promise<void>;

  /** Makes everything applied durable and lets go of the files. */
  close(): Promise<void>;
}

export interface StateMachineSnapshot {
  readonly appliedIndex: LogIndex;
  /** Writes the pinned state; commands applied meanwhile are not in it. */
  write(sink: SnapshotSink): Promise<void>;
  release(): void;
}

/** Sends messages to peers. Best effort: Raft repeats what matters. */
export interface PeerTransport {
  /** Queues messages by their `to`. Never waits, never throws; what does not fit is dropped and reported. */
  send(messages: readonly Message[]): void;
  /** Where each member is reached. Takes effect at once; peers that are gone are disconnected. */
  setMembers(addresses: ReadonlyMap<NodeId, string>): void;
  close(): Promise<void>;
}

/** What the transport asks of the runtime. */
export interface PeerInbox {
  readonly id: NodeId;
  /**
   * Whether a message from this node is welcome: anybody's but those that are known to have been removed. A node that
   * was away may be led by one that joined meanwhile, and must listen to it to learn so.
   */
  admits(from: NodeId): boolean;
  /**
   * Takes messages in, all or none.
   * @throws RaftNodeError `inboxFull` when there is no room, `nodeStopped` after a stop.
   */
  step(messages: readonly Message[]): void;
  /** A message to this peer could not be delivered. */
  reportUnreachable(id: NodeId): void;
  /** The snapshot announced by a MsgSnapshot was delivered, or not. */
  reportSnapshot(id: NodeId, delivered: boolean): void;
}

export type { Entry, HardState, MembershipRecord, Message, Snapshot, SnapshotDescriptor, SnapshotMetadata };
