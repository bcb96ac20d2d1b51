// What a node tells whoever listens. Listeners run inside the node's own turn: they must be quick, and what they
// throw is logged and goes no further. Streams are read at leisure.

import type { LogIndex, NodeId, Term } from "../core/types.js";
import { BufferedEvents, type EventStream, type EventStreamOptions } from "./event-stream.js";
import type { Membership } from "./membership.js";
import type { Cancel, Logger, SpaceState } from "./ports.js";
import type { NodeRole } from "./status.js";

export interface NodeEvents {
  /** Another leader, or none (`undefined`), as this node sees it. */
  readonly leader: { readonly leaderId: NodeId | undefined; readonly term: Term };
  readonly role: { readonly role: NodeRole; readonly term: Term };
  /** A membership was applied here. `removed`: this node was in the one before and is not in this one. */
  readonly membership: { readonly membership: Membership; readonly removed: boolean };
  /** This node made a snapshot for a peer, or replaced its own state by a peer's. */
  readonly snapshot: {
    readonly kind: "created" | "installed";
    readonly index: LogIndex;
    readonly term: Term;
  };
  /** The event loop did not run for `stalledMs`; time that raft did not count is in `skippedTicks`. */
  readonly stall: { readonly stalledMs: number; readonly skippedTicks: number };
  /** New commands are refused from now on for want of space, or taken again. */
  readonly space: { readonly state: SpaceState };
  /** The node has stopped working. Nothing was acknowledged after this. */
  readonly fatal: { readonly error: Error };
}

type Listener<K extends keyof NodeEvents> = (event: NodeEvents[K]) => void;
type Listeners = { readonly [K in keyof NodeEvents]: Set<Listener<K>> };

export class EventHub {
  readonly #listeners: Listeners = {
    leader: new Set(),
    role: new Set(),
    membership: new Set(),
    snapshot: new Set(),
    stall: new Set(),
    space: new Set(),
    fatal: new Set(),
  };

  /** How to end each stream that is open. */
  readonly #streams = new Set<() => void>();
  #ended = false;

  constructor(private readonly logger: Logger) {}

  on<K extends keyof NodeEvents>(name: K, listener: Listener<K>): Cancel {
    const listeners: Set<Listener<K>> = this.#listeners[name];
    // A wrapper, so that the same function may listen twice and each cancel undoes only its own.
    const own: Listener<K> = (event) => listener(event);
    listeners.add(own);
    return () => {
      listeners.delete(own);
    };
  }

  /** @throws RaftNodeError `invalidArgument` for a capacity out of range. */
  stream<K extends keyof NodeEvents>(name: K, options: EventStreamOptions): EventStream<NodeEvents[K]> {
    const end = () => stream.end();
    const stream = new BufferedEvents<NodeEvents[K]>(options, () => {
      cancel();
      this.#streams.delete(end);
    });
    const cancel = this.on(name, (event) => stream.push(event));
    this.#streams.add(end);
    if (this.#ended || options.signal?.aborted === true) stream.end();
    return stream;
  }

  /** Nothing more will happen: ends all streams, those that are opened later at once. */
  end(): void {
    this.#ended = true;
    for (const end of [...this.#streams]) end();
  }

  emit<K extends keyof NodeEvents>(name: K, event: NodeEvents[K]): void {
    const listeners: Set<Listener<K>> = this.#listeners[name];
    for (const listener of [...listeners]) {
      try {
        listener(event);
      } catch (error) {
        this.logger.error({ error, event: name }, "a listener of the node threw");
      }
    }
  }
}
