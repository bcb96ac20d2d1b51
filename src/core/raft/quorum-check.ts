// A leader that nobody answers any more steps down, so that its clients look for another (thesis §6.2).

import { NO_NODE } from "../types.js";
import { becomeFollower } from "./roles.js";
import { type RaftState, tell } from "./state.js";

export function checkQuorum(raft: RaftState): void {
  if (raft.tracker.quorumRecentlyActive(raft.id)) return;
  tell(raft, { type: "quorumLost", term: raft.term });
  becomeFollower(raft, raft.term, NO_NODE);
}
