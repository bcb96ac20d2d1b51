// From what the core answered to what a caller of RaftNode meets.

import { assertNever } from "../core/errors.js";
import type { DropReason, NodeId } from "../core/types.js";
import { RaftNodeError } from "./errors.js";

export function notLeader(leaderId: NodeId | undefined): RaftNodeError {
  const whereTo = leaderId === undefined ? "no leader is known" : `node ${leaderId} leads`;
  return new RaftNodeError("notLeader", `this node does not lead; ${whereTo}`, { leaderHint: leaderId });
}

export function nodeStopped(what: string): RaftNodeError {
  return new RaftNodeError("nodeStopped", `the node stopped; ${what}`);
}

export function noSpace(space: "full" | "exhausted"): RaftNodeError {
  const who =
    space === "full" ? "new commands are refused" : "even deletes are refused, the reserve is used up";
  return new RaftNodeError(
    "noSpace",
    `the leader is running out of space for its log: ${who}; free disk space or raise the quota of the log`,
  );
}

/** A proposal that the core did not take in: it is certain never to be applied. */
export function proposalRefused(reason: DropReason, leaderId: NodeId | undefined): RaftNodeError {
  switch (reason) {
    case "noLeader":
    case "forwardingDisabled":
      return notLeader(leaderId);
    case "malformedConfChange":
      return new RaftNodeError("invalidArgument", "the data is no encoded ConfChangeV2");
    case "notMember":
      return dropped(reason, "the leader is no longer a member of the group");
    case "transferInProgress":
      return dropped(reason, "leadership is being handed over; retry shortly");
    case "uncommittedLimit":
      return dropped(reason, "too much is waiting to be committed; retry when something has been");
    case "readLimit":
      return dropped(reason, "the leader has too many reads waiting; retry shortly");
    case "pendingConfChange":
      return dropped(reason, "a membership change has to be applied first; retry shortly");
    case "localMessage":
    case "unknownPeer":
    case "notPromotable":
    case "requestSnapshotDropped":
      return dropped(reason, `the core refused it: ${reason}`);
    default:
      return assertNever(reason);
  }
}

/** The entry was appended here, and then another leader's entry was committed in its place. */
export function overwritten(): RaftNodeError {
  return new RaftNodeError(
    "proposalDropped",
    "leadership changed and another entry was committed in its place; it was not applied and never will be",
  );
}

function dropped(reason: DropReason, message: string): RaftNodeError {
  return new RaftNodeError("proposalDropped", message, { reason });
}
