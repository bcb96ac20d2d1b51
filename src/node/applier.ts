// Takes committed entries into the state machine, in order, one call at a time, beside the disk and the network.
// A membership change is a barrier: nothing after it is applied before the new membership is durable and in force.

import { fromBinary } from "@bufbuild/protobuf";
import { decodeConfChange } from "../core/confchange/conf-change.js";
import { assertNever, ConfChangeError, InvariantViolation, invariant } from "../core/errors.js";
import type { RawNode } from "../core/raw-node.js";
import { type LogIndex, maxOf, type NodeId } from "../core/types.js";
import { type ConfState, type Entry, EntryType, type Snapshot } from "../gen/eraftpb_pb.js";
import { MembershipContextSchema } from "../gen/records_pb.js";
import { addressMap, type Membership, membershipOf, toRecord } from "./membership.js";
import type { NodeMetrics } from "./metrics.js";
import type { Clock, Command, DurableLog, SnapshotReader, StateMachine } from "./ports.js";
import type { SlowWatch } from "./slow-watch.js";

export type ConfChangeOutcome =
  | { readonly kind: "changed"; readonly membership: Membership }
  /** It did not fit the membership, on this node and on every other alike; nothing has changed. */
  | { readonly kind: "refused"; readonly error: ConfChangeError };

/** What happens to entries, told in the order of the log. */
export interface ApplyObserver {
  /** `result` is undefined for an entry without a command, and for one that the state contained already. */
  entryApplied(entry: Entry, result: Uint8Array | undefined): void;
  /** A new membership is durable: it comes into force here, before anything that follows it is applied. */
  membershipApplied(membership: Membership): void;
  /** The membership change is done with, and the core takes the next one. */
  confChangeApplied(entry: Entry, outcome: ConfChangeOutcome): void;
  /** The state machine and the membership were replaced by the snapshot's. */
  snapshotApplied(snapshot: Snapshot, membership: Membership): void;
  /** The core knows that `index` is applied: there may be a new Ready. */
  progressed(index: LogIndex): void;
}

export interface ApplierParts {
  readonly node: RawNode;
  readonly log: DurableLog;
  readonly stateMachine: StateMachine;
  readonly membership: () => Membership;
  readonly openBody: (snapshot: Snapshot) => Promise<SnapshotReader>;
  /** Replaces the state machine's state by the body; returns the membership that came with it. */
  readonly restore: (snapshot: Snapshot, body: SnapshotReader) => Promise<Membership>;
  readonly observer: ApplyObserver;
  readonly clock: Clock;
  readonly metrics: NodeMetrics;
  readonly maxBatchEntries: number;
  readonly applyWatch: SlowWatch;
  readonly fail: (error: unknown) => void;
}

/** How long the event loop may be held up by commands that are applied one batch after the other. */
const MAX_BREATHLESS_MS = 10;

type Task =
  | { readonly kind: "entries"; readonly entries: Entry[] }
  | { readonly kind: "snapshot"; readonly snapshot: Snapshot; readonly durable: Promise<void> }
  | { readonly kind: "between"; readonly run: () => Promise<void>; readonly abandon: () => void };

export class Applier {
  readonly #tasks: Task[] = [];
  #busy = false;
  #working: Promise<void> = Promise.resolve();
  #halted = false;
  /** Since when the event loop may not have had a turn. */
  #breathedMs = 0;
  /** The index of the last snapshot taken in. */
  #snapshotIndex: LogIndex = 0n;

  constructor(private readonly parts: ApplierParts) {}

  /** Committed entries of a Ready. How many may wait here is limited by `maxCommittedSizePerReady` of the core. */
  apply(entries: readonly Entry[]): void {
    if (entries.length === 0) return;
    const last = this.#tasks.at(-1);
    // While the state machine is busy, what queues up behind it becomes one batch.
    if (last?.kind === "entries") for (const entry of entries) last.entries.push(entry);
    else this.#take({ kind: "entries", entries: [...entries] });
  }

  /** The snapshot of a Ready. Nothing is touched before `durable`: the state must not get ahead of the log. */
  restore(snapshot: Snapshot, durable: Promise<void>): void {
    this.#snapshotIndex = snapshot.metadata?.index ?? 0n;
    this.#take({ kind: "snapshot", snapshot, durable });
  }

  /** Runs between two calls of the state machine, after everything that was taken in before; or is abandoned. */
  between(run: () => Promise<void>, abandon: () => void): void {
    if (this.#halted) abandon();
    else this.#take({ kind: "between", run, abandon });
  }

  /** Begins nothing more and acknowledges nothing more; resolves when the call under way has ended. */
  async halt(): Promise<void> {
    this.#halted = true;
    for (const task of this.#tasks.splice(0)) if (task.kind === "between") task.abandon();
    await this.#working;
  }

  #take(task: Task): void {
    if (this.#halted) return;
    this.#tasks.push(task);
    if (!this.#busy) this.#working = this.#work();
  }

  async #work(): Promise<void> {
    this.#busy = true;
    this.#breathedMs = this.parts.clock.nowMs();
    try {
      for (let task = this.#tasks.shift(); task !== undefined; task = this.#tasks.shift()) {
        await this.#perform(task);
      }
    } catch (error) {
      this.parts.fail(error);
    } finally {
      this.#busy = false;
    }
  }

  #perform(task: Task): Promise<void> {
    switch (task.kind) {
      case "entries":
        return this.#applyEntries(task.entries);
      case "snapshot":
        return this.#applySnapshot(task.snapshot, task.durable);
      case "between":
        return task.run();
      default:
        return assertNever(task);
    }
  }

  async #applyEntries(entries: readonly Entry[]): Promise<void> {
    let at = 0;
    while (at < entries.length && !this.#halted) {
      await this.#breathe();
      const batch = leadingCommands(entries, at, this.parts.maxBatchEntries);
      const next = entries[at];
      if (batch.length > 0) await this.#applyCommands(batch);
      else if (next !== undefined) await this.#applyConfChange(next);
      at += Math.max(batch.length, 1);
    }
  }

  /** A state machine that answers without waiting must not keep the network waiting, least of all in a long replay. */
  async #breathe(): Promise<void> {
    const { clock } = this.parts;
    if (clock.nowMs() - this.#breathedMs < MAX_BREATHLESS_MS) return;
    await new Promise<void>((resolve) => clock.soon(resolve));
    this.#breathedMs = clock.nowMs();
  }

  async #applyCommands(batch: readonly Entry[]): Promise<void> {
    const { observer } = this.parts;
    const upTo = lastOf(batch).index;
    // After a restart the core may hand out again what the state has already.
    const contained = this.parts.stateMachine.appliedIndex;
    const commands = batch.filter((entry) => entry.data.length > 0 && entry.index > contained);
    const results = await this.#callStateMachine(commands, upTo);
    if (this.#halted) return;
    let answered = 0;
    for (const entry of batch) {
      const isCommand = entry === commands[answered];
      observer.entryApplied(entry, isCommand ? results[answered] : undefined);
      if (isCommand) answered += 1;
    }
    this.#advanceTo(upTo, batch.length);
  }

  async #callStateMachine(commands: readonly Command[], upTo: LogIndex): Promise<readonly Uint8Array[]> {
    const { stateMachine, metrics, applyWatch } = this.parts;
    if (upTo <= stateMachine.appliedIndex) return [];
    const lap = applyWatch.begin();
    const results = await stateMachine.apply(commands, upTo);
    metrics.count("applyCalls");
    metrics.applyDuration.record(applyWatch.end(lap));
    invariant(
      results.length === commands.length && stateMachine.appliedIndex === upTo,
      () =>
        `the state machine answered ${results.length} of ${commands.length} commands ` +
        `and stands at ${stateMachine.appliedIndex} instead of ${upTo}`,
    );
    return results;
  }

  async #applyConfChange(entry: Entry): Promise<void> {
    const { observer, membership } = this.parts;
    // What a restart brought along already is only counted as applied.
    const isNew = entry.index > membership().index && !this.#isSuperseded(entry.index);
    const outcome = isNew ? await this.#changeMembership(entry) : undefined;
    if (this.#halted) return;
    await this.#callStateMachine([], entry.index);
    if (this.#halted) return;
    observer.entryApplied(entry, undefined);
    this.#advanceTo(entry.index, 1);
    if (outcome !== undefined) observer.confChangeApplied(entry, outcome);
  }

  async #changeMembership(entry: Entry): Promise<ConfChangeOutcome> {
    const { node, log, observer, membership } = this.parts;
    const change = decodeConfChange(entry.entryType, entry.data);
    let confState: ConfState;
    try {
      confState = node.applyConfChange(change);
    } catch (error) {
      if (error instanceof ConfChangeError) return { kind: "refused", error };
      throw error;
    }
    const after = membershipOf(confState, entry.index, withNewAddresses(membership(), change.context));
    await log.saveMembership(toRecord(after));
    if (!this.#halted) observer.membershipApplied(after);
    return { kind: "changed", membership: after };
  }

  /**
   * The core has accepted a snapshot that contains this entry, and the membership that comes with it: changes that
   * are still on their way here must not be put on top of that.
   */
  #isSuperseded(index: LogIndex): boolean {
    return index <= this.#newestSnapshotIndex();
  }

  #newestSnapshotIndex(): LogIndex {
    return maxOf(this.parts.node.snap()?.metadata?.index ?? 0n, this.#snapshotIndex);
  }

  async #applySnapshot(snapshot: Snapshot, durable: Promise<void>): Promise<void> {
    const { log, observer, restore } = this.parts;
    const index = snapshot.metadata?.index ?? 0n;
    await durable;
    const body = await this.#openUnlessSuperseded(snapshot, index);
    // Nothing that follows it is waiting here: the core hands that out only when a snapshot is applied.
    if (body === undefined) return;
    if (this.#halted) return body.close();
    const membership = await restore(snapshot, body);
    if (this.#halted) return;
    if (!this.#isSuperseded(index + 1n)) await log.saveMembership(toRecord(membership));
    if (this.#halted) return;
    observer.snapshotApplied(snapshot, membership);
    this.#advanceTo(index, 0);
  }

  /** The body of a snapshot goes when a newer one is installed, which may be before its turn has come here. */
  async #openUnlessSuperseded(snapshot: Snapshot, index: LogIndex): Promise<SnapshotReader | undefined> {
    if (this.#isSuperseded(index + 1n)) return undefined;
    try {
      return await this.parts.openBody(snapshot);
    } catch (error) {
      if (this.#isSuperseded(index + 1n)) return undefined;
      throw error;
    }
  }

  #advanceTo(index: LogIndex, entries: number): void {
    this.parts.metrics.count("entriesApplied", entries);
    this.parts.node.advanceApplyTo(index);
    this.parts.observer.progressed(index);
  }
}

/** The entries from `from` on that can be applied in one call: up to a membership change or the limit. */
function leadingCommands(entries: readonly Entry[], from: number, limit: number): readonly Entry[] {
  let to = from;
  while (to < entries.length && to - from < limit && entries[to]?.entryType === EntryType.EntryNormal)
    to += 1;
  return entries.slice(from, to);
}

function lastOf(batch: readonly Entry[]): Entry {
  const last = batch.at(-1);
  if (last === undefined) throw new InvariantViolation("an empty batch was to be applied");
  return last;
}

function withNewAddresses(before: Membership, context: Uint8Array): ReadonlyMap<NodeId, string> {
  return new Map([...before.addresses, ...addressesIn(context)]);
}

/** A change that another program proposed may carry a context of its own; then it names no addresses. */
function addressesIn(context: Uint8Array): ReadonlyMap<NodeId, string> {
  try {
    return addressMap(fromBinary(MembershipContextSchema, context).addresses);
  } catch {
    return new Map();
  }
}
