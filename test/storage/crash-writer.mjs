// A process that writes to a log until it is killed: `node crash-writer.mjs FOLDER SEED [OPERATIONS]`. What the n-th
// operation does follows from the seed alone, so that a later process can tell what the folder must hold. It first
// compares the folder with that, byte for byte, and prints "opened N"; then it prints "acked N" for what it was
// promised. `node crash-writer.mjs check SEED` only compares, one folder per line of input.

import { writeSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { isDeepStrictEqual } from "node:util";
import { newConfState, newHardState, newNormalEntry, newSnapshot } from "../../dist/core/messages.js";
import { LmdbStorage } from "../../dist/storage/lmdb-storage.js";
import { SnapshotFiles } from "../../dist/storage/snapshot-files.js";

const MAX_OUTSTANDING = 20;
/** The log's file is compacted beside the operations, which must never show. */
const OPERATIONS_PER_COMPACTION = 50;

/** A small generator of its own for every operation, so that any one can be repeated. */
function chance(seed, operation) {
  let state = (Math.imul(seed, 0x9e3779b1) ^ Math.imul(operation + 1, 0x85ebca6b)) >>> 0;
  return (bound) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % bound;
  };
}

function blank() {
  return { first: 1, boundaryTerm: 0, entries: [], term: 1, commit: 0, membership: 0 };
}

const lastOf = (model) => model.first + model.entries.length - 1;

/** What operation `number` does to a log in this state: exactly one of append, compact, membership, snapshot, commit. */
function operationAt(seed, number, model) {
  const random = chance(seed, number);
  const last = lastOf(model);
  const kind = random(100);
  if (kind < 8 && last > model.commit) {
    return {
      kind: "append",
      from: model.commit + 1 + random(last - model.commit),
      count: 1 + random(8),
      term: model.term + 1,
    };
  }
  if (kind < 20 && last > model.commit)
    return { kind: "commit", to: model.commit + 1 + random(last - model.commit) };
  if (kind < 28 && model.commit >= model.first) {
    return { kind: "compact", to: model.first + random(model.commit - model.first + 1) };
  }
  if (kind < 31) return { kind: "membership" };
  if (kind < 33) return { kind: "snapshot", at: last + random(30) + 1, term: model.term };
  return { kind: "append", from: last + 1, count: 1 + random(12), term: model.term };
}

function entryBytes(seed, number, index) {
  const random = chance(seed ^ index, number);
  return new Uint8Array(random(20) === 0 ? random(9000) : random(400)).fill(random(256));
}

/** The state after the operation; the one before is left as it is. */
function after(model, seed, number, operation) {
  const next = { ...model, entries: [...model.entries] };
  switch (operation.kind) {
    case "append":
      next.entries.length = operation.from - model.first;
      for (let index = operation.from; index < operation.from + operation.count; index += 1) {
        next.entries.push({ index, term: operation.term, data: entryBytes(seed, number, index) });
      }
      next.term = operation.term;
      return next;
    case "commit":
      next.commit = operation.to;
      return next;
    case "compact":
      next.boundaryTerm = model.entries[operation.to - model.first].term;
      next.entries = model.entries.slice(operation.to - model.first + 1);
      next.first = operation.to + 1;
      return next;
    case "membership":
      next.membership = number;
      return next;
    case "snapshot":
      return {
        ...next,
        first: operation.at + 1,
        boundaryTerm: operation.term,
        entries: [],
        commit: operation.at,
        membership: number,
      };
    default:
      throw new Error(`unknown operation ${operation.kind}`);
  }
}

/** The number of the operation travels in the vote of the hard state. */
const hardStateOf = (model, number) => newHardState(BigInt(model.term), BigInt(number), BigInt(model.commit));

const membershipOf = (number) => ({
  $typeName: "raftnode.records.v1.MembershipRecord",
  confState: newConfState({ voters: [1n, BigInt(number)] }),
  index: BigInt(number),
  addresses: [],
});

/** Issues the operation; the promise that tells that it is durable, or nothing when none was given. */
function issue(log, number, operation, model) {
  const write = { snapshot: undefined, entries: [], hardState: hardStateOf(model, number), mustSync: true };
  switch (operation.kind) {
    case "append":
      write.entries = model.entries
        .slice(operation.from - model.first)
        .map(({ index, term, data }) => newNormalEntry(BigInt(term), BigInt(index), data));
      return log.append(write);
    case "commit":
      log.append({ ...write, mustSync: false });
      return undefined;
    case "compact":
      return Promise.all([log.compact(BigInt(operation.to)), log.append(write)]);
    case "membership":
      return Promise.all([log.saveMembership(membershipOf(number)), log.append(write)]);
    case "snapshot":
      write.snapshot = newSnapshot(
        BigInt(operation.at),
        BigInt(operation.term),
        newConfState({ voters: [1n, BigInt(number)] }),
      );
      return log.append(write);
    default:
      throw new Error(`unknown operation ${operation.kind}`);
  }
}

function found(log) {
  const { storage } = log;
  const first = Number(storage.firstIndex());
  const entries = storage.entries(storage.firstIndex(), storage.lastIndex() + 1n, Number.POSITIVE_INFINITY, {
    canAsync: false,
    purpose: "other",
  });
  const { hardState } = storage.initialState();
  return {
    first,
    boundaryTerm: Number(storage.term(BigInt(first - 1))),
    entries: entries.map(({ index, term, data }) => ({ index: Number(index), term: Number(term), data })),
    term: Number(hardState.term),
    commit: Number(hardState.commit),
    membership: Number(log.membership.confState?.voters[1] ?? 0n),
  };
}

const say = (line) => writeSync(1, `${line}\n`);

async function open(dir) {
  const snapshots = await SnapshotFiles.open(join(dir, "snapshots"));
  return LmdbStorage.open({ dir, clusterId: "crash", nodeId: 1n, snapshots });
}

/** The state after the operation whose number the log carries; throws unless the log is in that state. */
function check(log, seed) {
  const number = Number(log.storage.initialState().hardState.vote);
  let model = blank();
  for (let at = 1; at <= number; at += 1) model = after(model, seed, at, operationAt(seed, at, model));
  // Compactions and memberships are written just before the hard state that carries their number.
  const expected = [model];
  const upcoming = operationAt(seed, number + 1, model);
  if (upcoming.kind === "compact" || upcoming.kind === "membership") {
    expected.push(after(model, seed, number + 1, upcoming));
  }
  const actual = found(log);
  // A log without a hard state is in no term yet; the model begins in the first.
  if (number === 0) actual.term = model.term;
  if (expected.some((state) => isDeepStrictEqual(actual, state))) return { number, model };
  const brief = ({ entries, ...rest }) => ({ ...rest, entries: entries.length });
  throw new Error(
    `wrong after operation ${number}: ${JSON.stringify([brief(actual), ...expected.map(brief)])}`,
  );
}

async function write(dir, seed, operations) {
  const log = await open(dir);
  let { number, model } = check(log, seed);
  say(`opened ${number}`);
  let outstanding = 0;
  let compacting = false;
  let wake = () => {};
  for (const end = number + operations; number < end; ) {
    number += 1;
    const operation = operationAt(seed, number, model);
    model = after(model, seed, number, operation);
    const written = issue(log, number, operation, model);
    if (number % OPERATIONS_PER_COMPACTION === 0 && !compacting) {
      compacting = true;
      log.compactFile().then(() => {
        compacting = false;
      });
    }
    if (written === undefined) continue;
    outstanding += 1;
    const acked = number;
    written.then(() => {
      outstanding -= 1;
      say(`acked ${acked}`);
      wake();
    });
    if (outstanding >= MAX_OUTSTANDING) {
      await new Promise((resolve) => {
        wake = resolve;
      });
    }
  }
  await log.close();
}

/** Opens each folder that a line of input names, and answers what it found there. */
async function checkFolders(seed) {
  for await (const dir of createInterface({ input: process.stdin })) {
    try {
      const log = await open(dir);
      const { number } = check(log, seed);
      await log.close();
      say(`opened ${number}`);
    } catch (error) {
      say(`refused: ${error.message}`);
    }
  }
}

const [, , target, seedText, operationsText] = process.argv;
if (target === "check") await checkFolders(Number(seedText));
else await write(target, Number(seedText), Number(operationsText ?? Number.POSITIVE_INFINITY));
