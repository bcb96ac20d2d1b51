// What invariants are told, in the order in which it happens.

import type { LogIndex, NodeId, Term } from "../../src/core/types.js";
import type { ConfState, Entry, HardState } from "../../src/gen/eraftpb_pb.js";
import type { Membership } from "../../src/node/membership.js";
import type { NodeLimits } from "../../src/node/options.js";
import type { NodeStatus } from "../../src/node/status.js";
import type { Ledger } from "./ledger.js";

/** One run of a node: a number that grows with every restart. */
export interface Run {
  readonly id: NodeId;
  readonly number: number;
}

export type Observation =
  | { readonly type: "started"; readonly run: Run; readonly hardState: HardState }
  /** Told somebody that it votes like this: for another node, or by asking for votes, for itself. */
  | { readonly type: "voted"; readonly run: Run; readonly term: Term; readonly candidate: NodeId }
  | {
      readonly type: "becameLeader";
      readonly run: Run;
      readonly term: Term;
      /** Its log, as a function that throws outside of `[firstIndex - 1, lastIndex]`. */
      readonly termAt: (index: LogIndex) => Term;
      readonly firstIndex: LogIndex;
      readonly lastIndex: LogIndex;
      /** Whom its core takes for members; undefined: it has just been given a snapshot. */
      readonly confState: ConfState | undefined;
    }
  /** As a leader, by counting. */
  | {
      readonly type: "leaderCommitted";
      readonly run: Run;
      readonly term: Term;
      readonly index: LogIndex;
      readonly confState: ConfState;
      /** Machines whose disk holds this entry, or a snapshot that contains it. */
      readonly holders: ReadonlySet<NodeId>;
    }
  | {
      readonly type: "appended";
      readonly run: Run;
      /** Undefined: this node does not lead. */
      readonly leadsTerm: Term | undefined;
      readonly entries: readonly Entry[];
      readonly snapshotIndex: LogIndex | undefined;
      readonly hardState: HardState | undefined;
      /** Of the entry before the first one. */
      readonly previousTerm: Term | undefined;
      readonly lastIndexBefore: LogIndex;
    }
  /** The leader of some term has committed this entry, as far as this node knows. */
  | {
      readonly type: "committed";
      readonly run: Run;
      readonly index: LogIndex;
      readonly term: Term;
      /** The node's own. */
      readonly currentTerm: Term;
    }
  | {
      readonly type: "applied";
      readonly run: Run;
      readonly index: LogIndex;
      readonly term: Term;
      readonly data: Uint8Array;
    }
  | { readonly type: "stateIs"; readonly run: Run; readonly appliedIndex: LogIndex; readonly digest: string }
  | {
      readonly type: "acknowledged";
      readonly run: Run;
      readonly index: LogIndex;
      readonly membership: Membership;
      /** Machines whose disk holds this entry, or a snapshot that contains it. */
      readonly holders: ReadonlySet<NodeId>;
    }
  | {
      readonly type: "read";
      readonly run: Run;
      /** Of the state that was read. */
      readonly revision: bigint;
      /** The highest revision that was acknowledged to anybody before the read began. */
      readonly floor: bigint;
    }
  /** A leader takes this peer, perhaps itself, to have the entry on its disk. */
  | {
      readonly type: "counted";
      readonly run: Run;
      readonly term: Term;
      readonly peer: NodeId;
      readonly index: LogIndex;
      readonly isHeld: boolean;
    }
  | { readonly type: "membership"; readonly run: Run; readonly membership: Membership }
  | {
      readonly type: "status";
      readonly run: Run;
      readonly status: NodeStatus;
      /** Of the entry at its commit index, if that is on its disk and still in its log. */
      readonly commitTerm: Term | undefined;
      readonly limits: NodeLimits;
    };

/** Returns what is wrong, as a sentence; undefined when nothing is. */
export type Observer = (observation: Observation) => string | undefined;

/** Begins to watch one simulation. */
export type Invariant = (ledger: Ledger) => Observer;
