// A report of what a node knows, for operators and tests. A copy: reading it never disturbs the node, keeping it
// never shows a later state.

import type { ConfState, HardState } from "../gen/eraftpb_pb.js";
import { hardStateOf, type RaftState, softStateOf } from "./raft/state.js";
import type { LogIndex, NodeId, ProgressStateName, SoftState } from "./types.js";

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

/** raft-rs: `Status::new`. */
export function statusOf(raft: RaftState): Status {
  const { log, role, tracker } = raft;
  return {
    id: raft.id,
    hardState: hardStateOf(raft),
    softState: softStateOf(raft),
    applied: log.applied,
    firstIndex: log.firstIndex(),
    lastIndex: log.lastIndex(),
    persisted: log.persisted,
    confState: tracker.toConfState(),
    promotable: raft.promotable,
    leadTransferee: role.kind === "leader" ? role.transferTarget : undefined,
    progress: role.kind === "leader" ? tracker.ids().flatMap((id) => progressStatus(raft, id)) : undefined,
  };
}

function progressStatus(raft: RaftState, id: NodeId): ProgressStatus[] {
  const progress = raft.tracker.get(id);
  if (progress === undefined) return [];
  return [
    {
      id,
      learner: progress.isLearner,
      matched: progress.matched,
      nextIdx: progress.nextIdx,
      state: progress.state,
      paused: progress.isPaused(),
      recentActive: progress.recentActive,
      pendingSnapshot: progress.pendingSnapshot,
      pendingRequestSnapshot: progress.pendingRequestSnapshot,
      inflightCount: progress.inflights.count,
      inflightBytes: progress.inflights.bytes,
      committedIndex: progress.committedIndex,
      commitGroupId: progress.commitGroupId,
    },
  ];
}
