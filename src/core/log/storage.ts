// What the core reads from the disk: the contract between raft and any storage. The core never writes; the
// embedder persists what `Ready` hands out, and from then on the storage must serve it.

import type { ConfState, Entry, HardState, Snapshot } from "../../gen/eraftpb_pb.js";
import type { LogIndex, NodeId, Term } from "../types.js";

/** What a storage knew when it was opened. */
export interface InitialState {
  readonly hardState: HardState;
  /** The membership as of the applied entries, not as of the last entry of the log. */
  readonly confState: ConfState;
}

/**
 * Why entries are being read. A storage only asks `canAsync`: may it answer `logTemporarilyUnavailable`, fetch
 * in the background, and have `RawNode.onEntriesFetched(context)` called when the same read can be served?
 */
export type GetEntriesContext =
  | {
      readonly canAsync: true;
      readonly purpose: "sendAppend";
      readonly to: NodeId;
      readonly term: Term;
      readonly aggressively: boolean;
    }
  | { readonly canAsync: false; readonly purpose: "ready" | "confChangeScan" | "commitByVote" | "other" };

/**
 * All methods are synchronous and see everything that was handed to the embedder by a `Ready` that has since been
 * advanced, on disk or not. They throw `StorageError`; what else they throw stops the node.
 */
export interface Storage {
  /** Called once, by the constructor of `RawNode`. */
  initialState(): InitialState;

  /**
   * The entries of `[low, high)`, in order and without a gap, as many as fit into `maxBytes` of encoded entries
   * but at least one. May return fewer than asked for, never an empty answer for a non-empty range.
   * The entries belong to the storage: the core does not change them.
   * @throws StorageError `compacted` if low < firstIndex; `unavailable` if high > lastIndex + 1;
   *   `logTemporarilyUnavailable` if the context allows it.
   */
  entries(low: LogIndex, high: LogIndex, maxBytes: number, context: GetEntriesContext): readonly Entry[];

  /**
   * The term of the entry at `index`, for every index of `[firstIndex - 1, lastIndex]`: the term of the entry just
   * before the first one has to be kept.
   * @throws StorageError `compacted` or `unavailable` outside of that range.
   */
  term(index: LogIndex): Term;

  /** The first index that `entries` can serve; 1 for a blank storage. */
  firstIndex(): LogIndex;

  /** The last index that `entries` can serve; firstIndex - 1 when there is none. */
  lastIndex(): LogIndex;

  /**
   * A snapshot for peer `to` that covers at least `requestIndex`.
   * @throws StorageError `snapshotTemporarilyUnavailable` when there is none yet; the core asks again later.
   */
  snapshot(requestIndex: LogIndex, to: NodeId): Snapshot;
}
