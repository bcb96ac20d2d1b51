// What a vote has come to. One word for elections, for the quorum that confirms reads, and for check-quorum.

/** `pending`: the answers still missing can decide it either way. */
export type VoteResult = "pending" | "lost" | "won";
