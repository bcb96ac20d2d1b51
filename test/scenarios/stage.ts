// The nodes of one transcript, and the wire between them: nothing moves unless a command moves it.

import {
  type ConfigInput,
  type ConfState,
  decodeConfChange,
  type Entry,
  EntryType,
  MemoryStorage,
  type Message,
  MessageType,
  RawNode,
  type Ready,
} from "../../src/core/index.js";
import { checkInvariants } from "../../src/core/raft/invariants.js";
import { renderConfState, renderMessage, renderReady, renderTrace } from "./render.js";

interface Actor {
  node: RawNode;
  readonly storage: MemoryStorage;
  readonly config: ConfigInput;
  /** Readys stored and not yet known to be durable. */
  readonly unsynced: Ready[];
  readonly toApply: Entry[];
  applied: bigint;
  confState: ConfState | undefined;
}

export class Stage {
  readonly #actors = new Map<bigint, Actor>();
  /** Sent and not delivered, in order. */
  #wire: Message[] = [];
  readonly #cut = new Set<bigint>();
  #lines: string[] = [];

  /** Runs a command's work and returns the lines it produced. */
  perform(work: () => void): string {
    this.#lines = [];
    work();
    return this.#lines.length === 0 ? "ok" : this.#lines.join("\n");
  }

  say(line: string): void {
    this.#lines.push(line);
  }

  /** A node of a cluster that is born with these members; or, without any, one that waits to be added. */
  addNode(
    id: bigint,
    members: Partial<Pick<ConfState, "voters" | "learners">>,
    config: Partial<ConfigInput>,
  ): void {
    const blank = members.voters === undefined;
    const storage = blank ? new MemoryStorage() : MemoryStorage.withConfState(members);
    const input: ConfigInput = {
      maxSizePerMsg: 1024,
      randomInt: (min) => min,
      ...config,
      id,
      trace: (event) => this.say(`${id} ${renderTrace(event)}`),
    };
    const applied = blank ? 0n : 1n;
    storage.setApplied(applied);
    const lines = this.#lines.length;
    const node = new RawNode({ ...input, applied }, storage);
    // That a new node follows nobody is no news.
    this.#lines.length = lines;
    this.#actors.set(id, {
      node,
      storage,
      config: input,
      unsynced: [],
      toApply: [],
      applied,
      confState: undefined,
    });
  }

  get ids(): bigint[] {
    return [...this.#actors.keys()];
  }

  node(id: bigint): RawNode {
    return this.#actor(id).node;
  }

  storage(id: bigint): MemoryStorage {
    return this.#actor(id).storage;
  }

  #actor(id: bigint): Actor {
    const actor = this.#actors.get(id);
    if (actor === undefined) throw new Error(`there is no node ${id}`);
    return actor;
  }

  /** Any input; the invariants hold afterwards. */
  act(id: bigint, input: (node: RawNode) => unknown): void {
    const { node } = this.#actor(id);
    input(node);
    checkInvariants(node.raft);
  }

  /** Takes the Ready, shows it, and stores it; `durable` says whether the disk has answered yet. */
  takeReady(id: bigint, durable: boolean): void {
    const actor = this.#actor(id);
    if (!actor.node.hasReady()) {
      this.say(`${id} has nothing to do`);
      return;
    }
    const ready = actor.node.ready();
    this.say(`Ready ${ready.number} of ${id}:`);
    for (const line of renderReady(ready)) this.say(`  ${line}`);
    this.#store(actor, ready);
    if (durable) this.sync(id);
  }

  #store(actor: Actor, ready: Ready): void {
    this.#wire.push(...ready.messages);
    if (ready.snapshot !== undefined) {
      actor.storage.applySnapshot(ready.snapshot);
      actor.applied = ready.snapshot.metadata?.index ?? 0n;
      actor.storage.setApplied(actor.applied);
    }
    actor.storage.append(ready.entries);
    if (ready.hardState !== undefined) actor.storage.setHardState(ready.hardState);
    actor.node.advanceAppendAsync(ready);
    if (ready.snapshot !== undefined) actor.node.advanceApplyTo(actor.applied);
    actor.unsynced.push(ready);
    actor.toApply.push(...ready.committedEntries);
  }

  /** The disk has answered for everything stored, or only up to a Ready. */
  sync(id: bigint, upTo = Number.POSITIVE_INFINITY): void {
    const actor = this.#actor(id);
    const done = actor.unsynced.filter((ready) => ready.number <= upTo);
    actor.unsynced.splice(0, done.length);
    const last = done.at(-1);
    if (last === undefined) return;
    this.act(id, (node) => node.onPersistReady(last.number));
    for (const ready of done) this.#wire.push(...ready.persistedMessages);
    this.#apply(id, actor);
  }

  #apply(id: bigint, actor: Actor): void {
    for (const entry of actor.toApply.splice(0)) {
      if (entry.entryType !== EntryType.EntryNormal) {
        const change = decodeConfChange(entry.entryType, entry.data);
        this.act(id, (node) => {
          actor.confState = node.applyConfChange(change);
          actor.storage.setConfState(actor.confState);
        });
      }
      actor.applied = entry.index;
      actor.storage.setApplied(entry.index);
      this.act(id, (node) => node.advanceApplyTo(entry.index));
    }
  }

  /** Delivers what is on the wire for these nodes now; what that leads to stays for later. */
  deliver(to: readonly bigint[], keep: (message: Message) => boolean = () => true): void {
    const due = this.#wire.filter((message) => to.includes(message.to) && keep(message));
    this.#wire = this.#wire.filter((message) => !due.includes(message));
    for (const message of due) this.#deliver(message);
    if (due.length === 0) this.say("nothing to deliver");
  }

  #deliver(message: Message): void {
    const lost = this.#cut.has(message.from) || this.#cut.has(message.to) || !this.#actors.has(message.to);
    this.say(`${renderMessage(message)}${lost ? " (lost)" : ""}`);
    if (message.msgType === MessageType.MsgSnapshot && this.#actors.has(message.from)) {
      this.act(message.from, (node) => node.reportSnapshot(message.to, lost ? "failure" : "finish"));
    }
    if (!lost) this.act(message.to, (node) => node.step(message));
  }

  /** Loses what is on the wire for these nodes. */
  drop(to: readonly bigint[], keep: (message: Message) => boolean): void {
    const lost = this.#wire.filter((message) => to.includes(message.to) && keep(message));
    this.#wire = this.#wire.filter((message) => !lost.includes(message));
    for (const message of lost) this.say(`${renderMessage(message)} (lost)`);
  }

  /** Work and deliveries in turn, with an instant disk, until nothing is left for these nodes. */
  stabilize(ids: readonly bigint[], quiet: boolean): void {
    const lines = this.#lines.length;
    for (let round = 0; round < 200; round += 1) {
      const working = ids.filter((id) => this.node(id).hasReady());
      for (const id of working) this.takeReady(id, true);
      const due = this.#wire.filter((message) => ids.includes(message.to));
      this.#wire = this.#wire.filter((message) => !due.includes(message));
      for (const message of due) this.#deliver(message);
      if (working.length === 0 && due.length === 0) {
        if (quiet)
          this.#lines.splice(lines, this.#lines.length, ...this.#lines.slice(lines).filter(isDecision));
        return;
      }
    }
    throw new Error("not quiet after 200 rounds");
  }

  cut(id: bigint): void {
    this.#cut.add(id);
  }

  /** What was on the way to or from those cut off is lost; from now on everything arrives again. */
  heal(): void {
    this.#wire = this.#wire.filter(({ from, to }) => !this.#cut.has(from) && !this.#cut.has(to));
    this.#cut.clear();
  }

  /** The process is gone, and with it all that was not stored; then it is back. */
  restart(id: bigint): void {
    const actor = this.#actor(id);
    actor.unsynced.length = 0;
    actor.toApply.length = 0;
    this.#wire = this.#wire.filter((message) => message.from !== id);
    if (actor.confState !== undefined) actor.storage.setConfState(actor.confState);
    actor.node = new RawNode({ ...actor.config, applied: actor.applied }, actor.storage);
    checkInvariants(actor.node.raft);
  }

  describeMembership(id: bigint): string {
    return renderConfState(this.node(id).status().confState);
  }
}

/** Decisions begin with the node's number, messages with `from→to`, the rest belongs to a Ready. */
function isDecision(line: string): boolean {
  return /^\d+ /.test(line) && !line.endsWith("has nothing to do");
}
