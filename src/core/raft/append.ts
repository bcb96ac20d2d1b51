// How entries get into a leader's own log. They are on their way to the disk then, not on it: the leader counts
// itself for them only when `onPersistReady` says so.

import type { Entry } from "../../gen/eraftpb_pb.js";
import { newEntry } from "../messages.js";
import type { LogIndex } from "../types.js";
import type { LeaderRole, RaftState } from "./state.js";

/**
 * Gives the entries their term and place and appends them. raft-rs: `append_entry`.
 * @returns the last index, or undefined when the uncommitted-size limit refuses them; then nothing has changed.
 */
export function appendToOwnLog(
  raft: RaftState,
  leader: LeaderRole,
  proposals: readonly Entry[],
): LogIndex | undefined {
  if (!leader.uncommitted.tryTake(proposals)) return undefined;
  let index = raft.log.lastIndex();
  const entries = proposals.map((proposal) => {
    index += 1n;
    return Object.freeze(newEntry(proposal.entryType, raft.term, index, proposal.data, proposal.context));
  });
  return raft.log.append(entries);
}
