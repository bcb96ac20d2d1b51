// What `RawNode.ready()` hands to the embedder, and the order in which it must be dealt with.
//
// 1. Send `messages` at once: they promise nothing that is not already on this node's disk.
// 2. Make `snapshot`, then `entries`, then `hardState` durable, as one atomic write if the storage can.
// 3. Only when this Ready and every earlier one is on disk: call `onPersistReady(number)` and send
//    `persistedMessages`. They carry votes and acknowledgements; sent early, a crash turns them into lies.
// 4. Apply `committedEntries`, then call `advanceApplyTo`.
//
// `advance(ready)` is for embedders that do 2 to 4 at once. `advanceAppendAsync(ready)` is for those that overlap
// them: after it the storage must serve the entries, on disk or not.

import type { Entry, HardState, Message, Snapshot } from "../gen/eraftpb_pb.js";
import type { LogIndex, SoftState } from "./types.js";

/** A read that may be served once the state machine has applied `index`. */
export interface ReadState {
  readonly index: LogIndex;
  /** The context that `readIndex` was called with. */
  readonly requestCtx: Uint8Array;
}

/**
 * One batch of work. Arrays and messages are the embedder's own, to be emptied, sorted or stamped. Entries are frozen,
 * because several Readys, messages and the log itself share them; for the same reason `data` and `context` of an
 * entry must never be written over: what is sent and stored would no longer be what was proposed. (Copying those
 * bytes each time they are handed out would double the cost of a proposal.) All other bytes are copies: contexts of
 * messages and reads, bodies of snapshots. What goes in is copied as well: data that is proposed, and messages,
 * unless they were handed out by a RawNode and carry nothing but its entries.
 */
export interface Ready {
  /** Counts up by one per `ready()`; what `onPersistReady` takes. */
  readonly number: number;
  /** Present if it changed since the last Ready. Needs no disk. raft-rs: `ss`. */
  readonly softState: SoftState | undefined;
  /** Present if it changed since the last Ready. raft-rs: `hs`. */
  readonly hardState: HardState | undefined;
  /** Linearizable reads that have been confirmed. */
  readonly readStates: readonly ReadState[];
  /** To be appended; where they overlap with what the storage holds, they replace it and all that follows. */
  readonly entries: readonly Entry[];
  /** To be installed before `entries` are appended; replaces the whole log. Never beside committed entries. */
  readonly snapshot: Snapshot | undefined;
  /** To be applied in order. All of them are durable here, unless `maxApplyUnpersistedLogLimit` allows otherwise. */
  readonly committedEntries: readonly Entry[];
  /** To be sent at once. */
  readonly messages: readonly Message[];
  /** To be sent when this Ready and all before it are durable. */
  readonly persistedMessages: readonly Message[];
  /** False: nothing in here loses a promise if it is written lazily (at most the commit index moved). */
  readonly mustSync: boolean;
}

/** What `advance` brings to light: work that became possible because something is now durable. */
export interface LightReady {
  /** Present if the commit index moved; need not be persisted. */
  readonly commitIndex: LogIndex | undefined;
  readonly committedEntries: readonly Entry[];
  /** To be sent at once. */
  readonly messages: readonly Message[];
}
