// What a caller of RaftNode may meet. The code says what may be concluded about a proposal that failed.

import type { DropReason, LogIndex, NodeId } from "../core/types.js";

/**
 * | code | what is certain about a proposal | what to do |
 * | --- | --- | --- |
 * | `notLeader` | not applied, never will be | go to `leaderHint` |
 * | `proposalDropped` | not applied, never will be | see `reason`; mostly: retry shortly |
 * | `outcomeUnknown` | may or may not be applied, now or later | read before writing again, unless repeating is harmless |
 * | `deadlineExceeded` | as `outcomeUnknown` | likewise |
 * | `aborted` | as `outcomeUnknown` | the caller's own signal fired |
 * | `nodeStopped` | as `outcomeUnknown` if it was already taken in | use another node |
 * | `inboxFull` | not applied, never will be | slow down, then retry |
 * | `noSpace` | not applied, never will be | make room: delete, wait for compaction, enlarge disk or quota |
 * | `tooLarge` | not applied, never will be | send less |
 * | `invalidArgument` | not applied, never will be | mend the request |
 * | `membershipRefused` | not applied, never will be | the message says why; some have a `force` |
 * | `noLeader` | (reads) not served | retry until there is one |
 * | `readDropped` | (reads) not served: the state was being replaced, or the node failed | retry, if need be elsewhere |
 */
export type RaftNodeErrorCode =
  | "notLeader"
  | "proposalDropped"
  | "outcomeUnknown"
  | "deadlineExceeded"
  | "aborted"
  | "nodeStopped"
  | "inboxFull"
  | "noSpace"
  | "tooLarge"
  | "invalidArgument"
  | "membershipRefused"
  | "noLeader"
  | "readDropped";

/** Why a node cannot start: it was removed from its group, which its own disk remembers. */
export class NodeRemoved extends Error {
  override readonly name = "NodeRemoved";

  constructor(
    readonly id: NodeId,
    /** Of the membership change. */
    readonly index: LogIndex,
  ) {
    super(
      `node ${id} was removed from its group by the membership change at index ${index} and must not start again: ` +
        "the group goes on without it. To bring this machine back, add it to the group as a new node, with an id " +
        "that was never used and an empty data folder",
    );
  }
}

export interface RaftNodeErrorDetail {
  /** `notLeader`: who leads, if known. */
  readonly leaderHint?: NodeId | undefined;
  /** `proposalDropped`: why. */
  readonly reason?: DropReason | undefined;
  readonly cause?: unknown;
}

export class RaftNodeError extends Error {
  override readonly name = "RaftNodeError";
  readonly leaderHint: NodeId | undefined;
  readonly reason: DropReason | undefined;

  constructor(
    readonly code: RaftNodeErrorCode,
    message: string,
    detail: RaftNodeErrorDetail = {},
  ) {
    super(message, detail.cause === undefined ? undefined : { cause: detail.cause });
    this.leaderHint = detail.leaderHint;
    this.reason = detail.reason;
  }
}
