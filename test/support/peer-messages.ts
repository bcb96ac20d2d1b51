// What a node under test hears from its peers, and what it says to them, when a scenario plays the peers itself.

import { type Message, MessageType, type NodeId, newMessage } from "../../src/core/index.js";
import type { TestNode } from "./test-node.js";

type Fields = Parameters<typeof newMessage>[2];

/** A message from a peer in the node's present term, unless `fields` names another. */
export function fromPeer(
  node: TestNode,
  peer: NodeId | number,
  msgType: MessageType,
  fields?: Fields,
): Message {
  return newMessage(msgType, node.id, { from: BigInt(peer), term: node.raft.term, ...fields });
}

/** The peer holds the log up to `index`. */
export function ack(node: TestNode, peer: NodeId | number, index: bigint, fields?: Fields): Message {
  return fromPeer(node, peer, MessageType.MsgAppendResponse, { index, ...fields });
}

/** The peer lacks the entry at `index`; the logs may agree at `hint`. */
export function rejection(node: TestNode, peer: NodeId | number, index: bigint, hint: bigint): Message {
  return ack(node, peer, index, { reject: true, rejectHint: hint });
}

/** The peer has answered a heartbeat. */
export function heartbeatResponse(node: TestNode, peer: NodeId | number, fields?: Fields): Message {
  return fromPeer(node, peer, MessageType.MsgHeartbeatResponse, fields);
}

/** The messages of one type, in order. */
export function ofType(messages: readonly Message[], msgType: MessageType): Message[] {
  return messages.filter((message) => message.msgType === msgType);
}

/** The entries of an append as `index/term`, behind `previous` and what it tells as committed: `1→2 after 4/2: 5/2, commit 4`. */
export function renderAppend({ from, to, index, logTerm, entries, commit }: Message): string {
  const carried = entries.map((entry) => `${entry.index}/${entry.term}`).join(" ");
  return `${from}→${to} after ${index}/${logTerm}: ${carried || "nothing"}, commit ${commit}`;
}
