// A report of what a node knows, for operators and tests. A copy: reading it never disturbs the node, keeping it
// never shows a later state.

import type { ConfState, HardState } from "../gen/eraftpb_pb.js";
import type { LogIndex, NodeId, SoftState } from "./types.js";

export type ProgressStateName = "Probe" | "Replicate" | "Snapshot";

/** What a leader knows about one peer (itself included). */
export interface ProgressStatus {
  readonly id: NodeId;
  readonly learner: boolean;
  readonly matched: LogIndex;
  readonly nextIdx: LogIndex;
  readonly state: ProgressStateName;
  readonly paused: boolean;
  readonly recentActive: boolean;
  readonly pendingSnapshot: LogIndex;
  readonly pendingRequestSnapshot: LogIndex;
  readonly inflightCount: number;
  readonly inflightBytes: number;
  /** The commit index that the peer reported last. */
  readonly committedIndex: LogIndex;
  readonly commitGroupId: bigint;
}

export interface Status {
  readonly id: NodeId;
  readonly hardState: HardState;
  readonly softState: SoftState;
  readonly applied: LogIndex;
  readonly firstIndex: LogIndex;
  readonly lastIndex: LogIndex;
  readonly persisted: LogIndex;
  readonly confState: ConfState;
  /** This node is a voter and may campaign. */
  readonly promotable: boolean;
  /** The target of a leadership transfer under way; undefined when there is none. */
  readonly leadTransferee: NodeId | undefined;
  /** Only on the leader; in id order. */
  readonly progress: readonly ProgressStatus[] | undefined;
}
