// Turns what a node says into lines that a newcomer can read: the oracle of the transcripts. It renders data, never
// log strings, so that wording in the code can change without touching a transcript.

import {
  ConfChangeType,
  type ConfState,
  decodeConfChange,
  type Entry,
  EntryType,
  type Message,
  MessageType,
  type ProgressStatus,
  type Ready,
  type Snapshot,
  type TraceEvent,
} from "../../src/core/index.js";
import { text } from "../support/test-node.js";

/** `1→2 MsgAppend term=2 after=1/1 commit=1 [2/2 "hello"]`: entries and positions are index/term. */
export function renderMessage(message: Message): string {
  const parts = [`${message.from}→${message.to} ${MessageType[message.msgType]}`];
  if (message.term !== 0n) parts.push(`term=${message.term}`);
  parts.push(...positionParts(message));
  if (message.reject) parts.push(`rejected hint=${message.rejectHint}/${message.logTerm}`);
  if (message.requestSnapshot !== 0n) parts.push(`requests-snapshot>=${message.requestSnapshot}`);
  if (message.commit !== 0n) parts.push(`commit=${message.commit}`);
  if (message.priority !== 0n) parts.push(`priority=${message.priority}`);
  if (message.context.length > 0) parts.push(`context=${renderContext(message.context)}`);
  if (message.entries.length > 0) parts.push(`[${message.entries.map(renderEntry).join(", ")}]`);
  if (message.snapshot !== undefined) parts.push(renderSnapshot(message.snapshot));
  return parts.join(" ");
}

function positionParts(message: Message): string[] {
  switch (message.msgType) {
    case MessageType.MsgAppend:
      return [`after=${message.index}/${message.logTerm}`];
    case MessageType.MsgRequestVote:
    case MessageType.MsgRequestPreVote:
      return [`last=${message.index}/${message.logTerm}`];
    default:
      return message.index === 0n ? [] : [`index=${message.index}`];
  }
}

/** Read tokens of the leader are 8 bytes; everything else in a context is text. */
function renderContext(context: Uint8Array): string {
  if (context.length !== 8 || context[0] !== 0) return text(context);
  return `round-${new DataView(context.buffer, context.byteOffset, 8).getBigUint64(0)}`;
}

export function renderEntry(entry: Entry): string {
  const place = entry.index === 0n ? "" : `${entry.index}/${entry.term} `;
  return `${place}${renderPayload(entry)}`;
}

function renderPayload(entry: Entry): string {
  if (entry.entryType === EntryType.EntryNormal) {
    return entry.data.length === 0 ? "(empty)" : `"${text(entry.data)}"`;
  }
  const { changes } = decodeConfChange(entry.entryType, entry.data);
  if (changes.length === 0) return "(leave joint)";
  return `(${changes.map(({ type, nodeId }) => `${CHANGE_LETTER[type]}${nodeId}`).join(" ")})`;
}

const CHANGE_LETTER: Readonly<Record<ConfChangeType, string>> = {
  [ConfChangeType.AddNode]: "v",
  [ConfChangeType.AddLearnerNode]: "l",
  [ConfChangeType.RemoveNode]: "r",
};

function renderSnapshot({ metadata }: Snapshot): string {
  if (metadata === undefined) return "snapshot without metadata";
  const confState = metadata.confState === undefined ? "" : ` ${renderConfState(metadata.confState)}`;
  return `snapshot=${metadata.index}/${metadata.term}${confState}`;
}

export function renderConfState(confState: ConfState): string {
  const list = (name: string, ids: readonly bigint[]): string =>
    ids.length === 0 ? "" : ` ${name}=(${ids.join(" ")})`;
  const voters = `voters=(${confState.voters.join(" ")})`;
  return (
    voters +
    list("outgoing", confState.votersOutgoing) +
    list("learners", confState.learners) +
    list("learners-next", confState.learnersNext) +
    (confState.autoLeave ? " auto-leave" : "")
  );
}

/** The contents of a Ready, one line for each thing that the embedder has to do. */
export function renderReady(ready: Ready): string[] {
  const lines: string[] = [];
  if (ready.softState !== undefined) {
    lines.push(`soft state: ${ready.softState.raftState}, leader ${ready.softState.leaderId}`);
  }
  for (const message of ready.messages) lines.push(`send now: ${renderMessage(message)}`);
  if (ready.snapshot !== undefined) lines.push(`store ${renderSnapshot(ready.snapshot)}`);
  if (ready.entries.length > 0) lines.push(`store [${ready.entries.map(renderEntry).join(", ")}]`);
  if (ready.hardState !== undefined) {
    const { term, vote, commit } = ready.hardState;
    lines.push(`store term=${term} vote=${vote} commit=${commit}${ready.mustSync ? "" : " (may be lazy)"}`);
  }
  for (const message of ready.persistedMessages) {
    lines.push(`send when durable: ${renderMessage(message)}`);
  }
  for (const { index, requestCtx } of ready.readStates) {
    lines.push(`read "${text(requestCtx)}" may be served at ${index}`);
  }
  if (ready.committedEntries.length > 0) {
    lines.push(`apply [${ready.committedEntries.map(renderEntry).join(", ")}]`);
  }
  return lines;
}

export function renderProgress(peer: ProgressStatus): string {
  const parts = [`${peer.id}: ${peer.state} matched=${peer.matched} next=${peer.nextIdx}`];
  if (peer.learner) parts.push("learner");
  if (peer.paused) parts.push("paused");
  if (!peer.recentActive) parts.push("inactive");
  if (peer.inflightCount > 0) parts.push(`inflight=${peer.inflightCount}`);
  if (peer.pendingSnapshot !== 0n) parts.push(`snapshot=${peer.pendingSnapshot}`);
  if (peer.pendingRequestSnapshot !== 0n) parts.push(`requested>=${peer.pendingRequestSnapshot}`);
  return parts.join(" ");
}

/** A decision in words, without the node it is about. */
export function renderTrace(event: TraceEvent): string {
  switch (event.type) {
    case "becameFollower":
      return `follows ${event.leader === 0n ? "nobody" : event.leader} in term ${event.term}`;
    case "becamePreCandidate":
      return `asks for pre-votes in term ${event.term}`;
    case "becameCandidate":
      return `campaigns in term ${event.term}`;
    case "becameLeader":
      return `leads term ${event.term}`;
    case "campaignRefused":
      return `does not campaign: ${event.reason}`;
    case "voteGranted":
      return `grants ${event.to} its ${event.preVote ? "pre-vote" : "vote"} for term ${event.term}`;
    case "voteRefused":
      return `refuses ${event.to} its ${event.preVote ? "pre-vote" : "vote"} for term ${event.term}`;
    case "messageIgnored":
      return `ignores ${MessageType[event.msgType]} from ${event.from}: ${event.reason}`;
    case "secondLeader":
      return `ALARM: ${event.from} claims to lead term ${event.term} too`;
    case "quorumLost":
      return `has heard from no quorum and steps down in term ${event.term}`;
    case "committed":
      return `commits up to ${event.index}`;
    case "proposalDropped":
      return `drops a proposal: ${event.reason}`;
    case "confChangeRefused":
      return `empties the change at ${event.index}: ${event.because}`;
    case "confChanged":
      return `is now in ${renderConfState(event.confState)}`;
    case "snapshotSent":
      return `sends ${event.to} the snapshot ${event.index}/${event.term}`;
    case "snapshotRestored":
      return `takes over the snapshot ${event.index}/${event.term}`;
    case "snapshotIgnored":
      return `ignores the snapshot at ${event.index}: ${event.because}`;
    case "transferStarted":
      return `hands leadership to ${event.to}`;
    case "transferAborted":
      return `gives up handing leadership to ${event.to}`;
  }
}
