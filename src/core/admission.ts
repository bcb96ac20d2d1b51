// Which messages may come in at all: what all that follows takes for granted about a message is checked here, once.

import { type Message, MessageType } from "../gen/eraftpb_pb.js";
import { NO_NODE, type NodeId } from "./types.js";

/** Message types that are made and handled inside one node. raft-rs: `is_local_msg`. */
export function isLocalMessage(msgType: MessageType): boolean {
  return (
    msgType === MessageType.MsgHup ||
    msgType === MessageType.MsgBeat ||
    msgType === MessageType.MsgUnreachable ||
    msgType === MessageType.MsgSnapStatus ||
    msgType === MessageType.MsgCheckQuorum
  );
}

/** Answers, which make sense only from somebody that this node may have asked. */
export function isResponse(msgType: MessageType): boolean {
  return (
    msgType === MessageType.MsgAppendResponse ||
    msgType === MessageType.MsgRequestVoteResponse ||
    msgType === MessageType.MsgHeartbeatResponse ||
    msgType === MessageType.MsgRequestPreVoteResponse
  );
}

/** A message names a peer as its sender and a term, as far as its type has them, and what it carries is in order. */
export function isWellFormed(self: NodeId, message: Message): boolean {
  return comesFromPeer(self, message) && holdsTogether(message);
}

function comesFromPeer(self: NodeId, { msgType, term, from }: Message): boolean {
  switch (msgType) {
    case MessageType.MsgPropose:
    case MessageType.MsgReadIndex:
      return term === 0n;
    case MessageType.MsgTransferLeader:
      // Names the node that is to lead, which may be this one.
      return term !== 0n;
    default:
      return term !== 0n && from !== NO_NODE && from !== self;
  }
}

function holdsTogether(message: Message): boolean {
  if (message.msgType === MessageType.MsgSnapshot) return message.snapshot?.metadata !== undefined;
  return message.msgType !== MessageType.MsgAppend || isInOrder(message);
}

/** The entries of an append stand where it says, and their terms do not fall: all else rests on that (E15). */
function isInOrder(message: Message): boolean {
  let { index, logTerm } = message;
  for (const entry of message.entries) {
    index += 1n;
    if (entry.index !== index || entry.term < logTerm || entry.term > message.term) return false;
    logTerm = entry.term;
  }
  return true;
}
