// For tests that go through Ready by hand: what an embedder does with one, step by step.

import {
  type Entry,
  type MemoryStorage,
  type Message,
  MessageType,
  newMessage,
  newNormalEntry,
  type Ready,
} from "../../../src/core/index.js";
import { bytes } from "../../support/test-node.js";

/** Stores all that a Ready holds, in the order that is asked for. */
export function store(storage: MemoryStorage, ready: Ready): void {
  if (ready.snapshot !== undefined) storage.applySnapshot(ready.snapshot);
  storage.append(ready.entries);
  if (ready.hardState !== undefined) storage.setHardState(ready.hardState);
}

/** Entries `first` to `last` of one term, each with data. */
export function entriesOf(term: bigint, first: bigint, last: bigint): Entry[] {
  const entries: Entry[] = [];
  for (let index = first; index <= last; index += 1n)
    entries.push(newNormalEntry(term, index, bytes(`${index}`)));
  return entries;
}

/** An append of node 2, the leader of `term`, to node 1. */
export function appendOf(
  term: bigint,
  previous: { readonly index: bigint; readonly term: bigint },
  entries: Entry[],
  commit: bigint,
): Message {
  const { index, term: logTerm } = previous;
  return newMessage(MessageType.MsgAppend, 1n, { from: 2n, term, index, logTerm, entries, commit });
}

/** `from..to`, or nothing: the indexes of neighbouring entries. */
export function range(entries: readonly Entry[]): string {
  const [first, last] = [entries[0], entries.at(-1)];
  return first === undefined || last === undefined ? "" : `${first.index}..${last.index}`;
}

export function typesOf(messages: readonly Message[]): string[] {
  return messages.map(({ msgType }) => MessageType[msgType]);
}
