// What an entry of the log asks for, in words: commands of the key-value store and membership changes decoded.

import { fromBinary } from "@bufbuild/protobuf";
import { decodeConfChange } from "../../core/confchange/conf-change.js";
import { ConfChangeType, type Entry, EntryType } from "../../gen/eraftpb_pb.js";
import { KvCommandSchema, MembershipContextSchema } from "../../gen/records_pb.js";

/** Bytes of a value that are shown. */
const SHOWN_BYTES = 48;

/** One line; never throws: bytes that are no command are shown as such. */
export function summarizePayload(entry: Entry): string {
  switch (entry.entryType) {
    case EntryType.EntryConfChange:
    case EntryType.EntryConfChangeV2:
      return orUnknown(entry, () => summarizeChange(entry));
    case EntryType.EntryNormal:
      // What a leader begins its term with.
      return entry.data.length === 0 ? "empty" : orUnknown(entry, () => summarizeCommand(entry.data));
    default:
      return `unknown type ${entry.entryType}, ${entry.data.length} bytes`;
  }
}

export function entryTypeName(type: EntryType): string {
  switch (type) {
    case EntryType.EntryNormal:
      return "normal";
    case EntryType.EntryConfChange:
      return "change";
    case EntryType.EntryConfChangeV2:
      return "change2";
    default:
      return String(type);
  }
}

function summarizeCommand(data: Uint8Array): string {
  const { command } = fromBinary(KvCommandSchema, data);
  switch (command.case) {
    case "set":
      return `set ${JSON.stringify(command.value.key)} ${shown(command.value.value)}`;
    case "delete":
      return `delete ${JSON.stringify(command.value.key)}`;
    case "txn": {
      const { compare, success, failure } = command.value;
      return `txn ${compare.length} comparisons, ${success.length} or else ${failure.length} operations`;
    }
    case undefined:
      return `no command that is known here, ${data.length} bytes`;
  }
}

function summarizeChange(entry: Entry): string {
  const { changes, context } = decodeConfChange(entry.entryType, entry.data);
  if (changes.length === 0) return "leave the joint configuration";
  const addresses = addressesIn(context);
  return changes
    .map(({ type, nodeId }) => {
      const address = addresses.get(nodeId);
      return `${changeName(type)} ${nodeId}${address === undefined ? "" : ` at ${address}`}`;
    })
    .join(", ");
}

function changeName(type: ConfChangeType): string {
  switch (type) {
    case ConfChangeType.AddNode:
      return "add voter";
    case ConfChangeType.AddLearnerNode:
      return "add learner";
    case ConfChangeType.RemoveNode:
      return "remove";
    default:
      return `change ${type} of`;
  }
}

function addressesIn(context: Uint8Array): ReadonlyMap<bigint, string> {
  try {
    const { addresses } = fromBinary(MembershipContextSchema, context);
    return new Map(addresses.map(({ id, address }) => [id, address]));
  } catch {
    return new Map();
  }
}

function orUnknown(entry: Entry, describe: () => string): string {
  try {
    return describe();
  } catch {
    return `not decodable, ${entry.data.length} bytes: ${Buffer.from(entry.data.subarray(0, 16)).toString("hex")}`;
  }
}

/** Text as text, everything else in hexadecimal; what is left out is counted. */
function shown(value: Uint8Array): string {
  const head = value.subarray(0, SHOWN_BYTES);
  const more = value.length > head.length ? ` … ${value.length} bytes` : "";
  try {
    // The cut may fall into a character: what is incomplete at the end is not shown.
    const text = new TextDecoder("utf-8", { fatal: true }).decode(head, { stream: more !== "" });
    return `${JSON.stringify(text)}${more}`;
  } catch {
    return `0x${Buffer.from(head).toString("hex")}${more}`;
  }
}
