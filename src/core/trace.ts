// What a node can tell about its decisions, as data: transcripts, logs and tests render these as they like.

import type { ConfState, MessageType } from "../gen/eraftpb_pb.js";
import type { DropReason, LogIndex, NodeId, Term } from "./types.js";

/** Why a message was read and not acted on. */
export type IgnoreReason =
  | "staleTerm"
  | "leaderLease"
  | "notForThisRole"
  | "unknownPeer"
  | "otherPhase"
  | "alreadyThere"
  | "malformed"
  | "notAVoter";

export type TraceEvent =
  | { readonly type: "becameFollower"; readonly term: Term; readonly leader: NodeId }
  | { readonly type: "becamePreCandidate"; readonly term: Term }
  | { readonly type: "becameCandidate"; readonly term: Term }
  | { readonly type: "becameLeader"; readonly term: Term; readonly lastIndex: LogIndex }
  | { readonly type: "campaignRefused"; readonly reason: DropReason }
  | { readonly type: "voteGranted"; readonly to: NodeId; readonly term: Term; readonly preVote: boolean }
  | { readonly type: "voteRefused"; readonly to: NodeId; readonly term: Term; readonly preVote: boolean }
  | {
      readonly type: "messageIgnored";
      readonly msgType: MessageType;
      readonly from: NodeId;
      readonly reason: IgnoreReason;
    }
  /** Two leaders in one term: impossible unless a peer broke a promise. Nothing was done with the message. */
  | { readonly type: "secondLeader"; readonly from: NodeId; readonly term: Term }
  | { readonly type: "quorumLost"; readonly term: Term }
  | { readonly type: "committed"; readonly index: LogIndex }
  | { readonly type: "proposalDropped"; readonly reason: DropReason }
  | { readonly type: "confChangeRefused"; readonly index: LogIndex; readonly because: string }
  | { readonly type: "confChanged"; readonly confState: ConfState }
  | { readonly type: "snapshotSent"; readonly to: NodeId; readonly index: LogIndex; readonly term: Term }
  | { readonly type: "snapshotRestored"; readonly index: LogIndex; readonly term: Term }
  | {
      readonly type: "snapshotIgnored";
      readonly index: LogIndex;
      readonly because:
        | "behindCommit"
        | "alreadyInLog"
        | "notAMember"
        | "notAFollower"
        | "malformedMembership";
    }
  | { readonly type: "transferStarted"; readonly to: NodeId }
  | { readonly type: "transferAborted"; readonly to: NodeId };

export type Trace = (event: TraceEvent) => void;
