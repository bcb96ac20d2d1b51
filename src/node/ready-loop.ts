// Deals with what the core hands out, in the order that core/ready.ts asks for, and without waiting: while one
// Ready is on its way to the disk, the next ones are taken, sent and applied.

import type { RawNode } from "../core/raw-node.js";
import type { Ready } from "../core/ready.js";
import type { SoftState } from "../core/types.js";
import type { Applier } from "./applier.js";
import { CommitNotices } from "./commit-notices.js";
import type { NodeMetrics } from "./metrics.js";
import type { Clock, DurableLog, HardState, Message, PeerTransport, Snapshot } from "./ports.js";
import type { Reads } from "./reads.js";
import type { SlowWatch } from "./slow-watch.js";

export interface ReadyLoopParts {
  readonly node: RawNode;
  readonly log: DurableLog;
  readonly transport: PeerTransport;
  /** Makes the body of a snapshot that the core has accepted the latest one. */
  readonly installBody: (snapshot: Snapshot) => Promise<void>;
  readonly applier: Applier;
  readonly reads: Reads;
  readonly clock: Clock;
  readonly metrics: NodeMetrics;
  /** Readys that may be on their way to the disk; beyond it the node stands still until one has arrived. */
  readonly maxInFlight: number;
  readonly appendWatch: SlowWatch;
  /** Role, leader or term may be others now. */
  readonly stateChanged: (softState: SoftState | undefined, hardState: HardState | undefined) => void;
  /** There is room again for what waited while the node stood still. */
  readonly wake: () => void;
  readonly fail: (error: unknown) => void;
}

interface InFlight {
  readonly ready: Ready;
  durable: boolean;
}

export class ReadyLoop {
  readonly #inFlight: InFlight[] = [];
  readonly #notices = new CommitNotices();
  #running = false;
  #again = false;
  #halted = false;
  /** The snapshot whose body is being, or has been, made the latest one. */
  #installing: Snapshot | undefined;
  #installed = true;

  constructor(private readonly parts: ReadyLoopParts) {}

  get inFlight(): number {
    return this.#inFlight.length;
  }

  /** Whether the node may be given more to do. */
  get hasRoom(): boolean {
    return this.#inFlight.length < this.parts.maxInFlight && this.#installed;
  }

  halt(): void {
    this.#halted = true;
  }

  /** A turn of the node, which is when it takes in what came from outside: `feed`. */
  turn(feed: () => void): void {
    this.#notices.beginTurn();
    feed();
    this.run();
    this.#send(this.#notices.endTurn());
  }

  /** Takes every Ready there is. Called from inside of itself, by an applier that answers at once, it goes round again. */
  run(): void {
    this.#again = true;
    if (this.#running) return;
    this.#running = true;
    try {
      while (this.#again && !this.#halted) {
        this.#again = false;
        while (!this.#halted && this.hasRoom && this.parts.node.hasReady() && this.#bodyIsInstalled()) {
          this.#take();
        }
      }
    } catch (error) {
      this.parts.fail(error);
    } finally {
      this.#running = false;
    }
  }

  /** One Ready: the contract of core/ready.ts, line by line. */
  #take(): void {
    const { node, applier, reads, stateChanged } = this.parts;
    const ready = node.ready();
    const flight: InFlight = { ready, durable: false };
    this.#inFlight.push(flight);

    // 1. What promises nothing goes out before the disk is even asked.
    this.#send(this.#notices.sift(ready.messages, this.parts.wake));
    // 2. Snapshot, entries and hard state, as one write. The log serves them from here on.
    const durable = this.#write(ready);
    node.advanceAppendAsync(ready);
    // 3. Votes and acknowledgements: once this Ready, and every earlier one, is durable.
    if (durable === undefined) this.#arrived(flight);
    else durable.then(() => this.#arrivedLater(flight), this.parts.fail);
    // 4. Apply what is committed, beside the disk; the applier calls advanceApplyTo.
    if (ready.snapshot !== undefined) applier.restore(ready.snapshot, durable ?? Promise.resolve());
    applier.apply(ready.committedEntries);

    stateChanged(ready.softState, ready.hardState);
    reads.confirmed(ready.readStates);
    this.parts.metrics.count("readys");
  }

  /** Undefined: there is nothing to wait for. A write that need not be synced goes along with the next one. */
  #write(ready: Ready): Promise<void> | undefined {
    const { snapshot, entries, hardState, mustSync } = ready;
    if (snapshot === undefined && entries.length === 0 && hardState === undefined) return undefined;
    const { log, metrics, appendWatch, fail } = this.parts;
    metrics.count("appends");
    const written = log.append({ snapshot, entries, hardState, mustSync });
    if (!mustSync) {
      written.catch(fail);
      return undefined;
    }
    const lap = appendWatch.begin();
    return written.then(() => metrics.appendDuration.record(appendWatch.end(lap)));
  }

  #arrivedLater(flight: InFlight): void {
    if (this.#halted) return;
    const stoodStill = !this.hasRoom;
    try {
      this.#arrived(flight);
    } catch (error) {
      this.parts.fail(error);
      return;
    }
    if (stoodStill) this.parts.wake();
    this.run();
  }

  #arrived(flight: InFlight): void {
    flight.durable = true;
    for (let first = this.#inFlight[0]; first?.durable === true; first = this.#inFlight[0]) {
      this.#inFlight.shift();
      this.parts.node.onPersistReady(first.ready.number);
      this.#send(first.ready.persistedMessages);
    }
  }

  #send(messages: readonly Message[]): void {
    if (messages.length === 0 || this.#halted) return;
    this.parts.metrics.count("messagesSent", messages.length);
    this.parts.transport.send(messages);
  }

  /**
   * Before a Ready with a snapshot is taken, its body becomes the latest one: if it did so only after the log was
   * replaced, a crash in between would leave a log that begins behind every state there is.
   */
  #bodyIsInstalled(): boolean {
    const { node, installBody, fail } = this.parts;
    const snapshot = node.snap();
    if (snapshot === undefined) return true;
    if (this.#installing !== undefined && isSame(this.#installing, snapshot)) return this.#installed;
    if (!this.#installed) return false;
    this.#installing = snapshot;
    this.#installed = false;
    installBody(snapshot).then(() => {
      this.#installed = true;
      this.run();
    }, fail);
    return false;
  }
}

function isSame(a: Snapshot, b: Snapshot): boolean {
  return a.metadata?.index === b.metadata?.index && a.metadata?.term === b.metadata?.term;
}
