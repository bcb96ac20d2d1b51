// A runtime that only notes what a transport tells it.

import type { NodeId } from "../core/types.js";
import type { Message, PeerInbox } from "../node/ports.js";

const DEFAULT_PATIENCE_MS = 20_000;

export class RecordingInbox implements PeerInbox {
  /** Everything that arrived, in order. */
  readonly stepped: Message[] = [];
  /** How many messages each call of `step` brought. */
  readonly batches: number[] = [];
  readonly unreachable: NodeId[] = [];
  readonly snapshotReports: { readonly id: NodeId; readonly delivered: boolean }[] = [];
  /** Thrown by `step` while it is set. */
  refusal: Error | undefined;
  admitted: (from: NodeId) => boolean = () => true;
  #waiters = new Set<() => void>();

  constructor(readonly id: NodeId) {}

  admits(from: NodeId): boolean {
    return this.admitted(from);
  }

  step(messages: readonly Message[]): void {
    if (this.refusal !== undefined) throw this.refusal;
    this.stepped.push(...messages);
    this.batches.push(messages.length);
    this.#wake();
  }

  reportUnreachable(id: NodeId): void {
    this.unreachable.push(id);
    this.#wake();
  }

  reportSnapshot(id: NodeId, delivered: boolean): void {
    this.snapshotReports.push({ id, delivered });
    this.#wake();
  }

  /**
   * Resolves when `condition` holds; it is looked at whenever something was noted.
   * @throws Error naming what was noted instead, after `patienceMs`.
   */
  async until(
    condition: (inbox: RecordingInbox) => boolean,
    patienceMs = DEFAULT_PATIENCE_MS,
  ): Promise<void> {
    let expired = false;
    const timer = setTimeout(() => {
      expired = true;
      this.#wake();
    }, patienceMs);
    try {
      while (!condition(this)) {
        if (expired) throw new Error(`not within ${patienceMs} ms; so far: ${this.#summary()}`);
        await new Promise<void>((resolve) => this.#waiters.add(resolve));
      }
    } finally {
      clearTimeout(timer);
    }
  }

  #wake(): void {
    const waiters = this.#waiters;
    this.#waiters = new Set();
    for (const wake of waiters) wake();
  }

  #summary(): string {
    const reports = this.snapshotReports.map(
      ({ id, delivered }) => `${id} ${delivered ? "" : "not "}delivered`,
    );
    return `${this.stepped.length} messages, unreachable: [${this.unreachable.join(", ")}], snapshots: [${reports.join(", ")}]`;
  }
}
