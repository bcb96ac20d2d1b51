// A state machine that keeps the commands it was given, as text. A test can hold it up, break it, and crash it.

import type { LogIndex } from "../../src/core/types.js";
import type { Command, StateMachine, StateMachineSnapshot } from "../../src/node/ports.js";

export const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
export const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

interface MachineState {
  readonly appliedIndex: LogIndex;
  readonly commands: readonly string[];
}

export class NotebookMachine implements StateMachine {
  commands: string[];
  closed = false;
  /** What `apply` waits for before it does anything. */
  gate: Promise<void> | undefined;
  /** A command with this text throws. */
  poison: string | undefined;
  /** While true, what is applied would not survive a crash. */
  lazy = false;
  /** The sizes of the batches that `apply` was called with. */
  readonly batches: number[] = [];
  readonly restoredAt: LogIndex[] = [];
  #appliedIndex: LogIndex;
  #durable: MachineState;

  constructor(
    state: MachineState = { appliedIndex: 0n, commands: [] },
    private readonly record: (event: string) => void = () => {},
  ) {
    this.#appliedIndex = state.appliedIndex;
    this.commands = [...state.commands];
    this.#durable = state;
  }

  get appliedIndex(): LogIndex {
    return this.#appliedIndex;
  }

  get durableIndex(): LogIndex {
    return this.#durable.appliedIndex;
  }

  async apply(commands: readonly Command[], appliedIndex: LogIndex): Promise<readonly Uint8Array[]> {
    if (this.gate !== undefined) await this.gate;
    const results = commands.map(({ index, data }) => {
      const text = textOf(data);
      if (text === this.poison) throw new Error(`poisoned by ${text}`);
      this.commands.push(text);
      return bytesOf(`${text}@${index}`);
    });
    this.batches.push(commands.length);
    this.#appliedIndex = appliedIndex;
    this.record(`applied ${appliedIndex}`);
    if (!this.lazy) this.sync();
    return results;
  }

  /** Makes what is applied survive a crash. */
  sync(): void {
    this.#durable = { appliedIndex: this.#appliedIndex, commands: [...this.commands] };
  }

  afterCrash(record?: (event: string) => void): NotebookMachine {
    return new NotebookMachine(this.#durable, record);
  }

  async snapshot(): Promise<StateMachineSnapshot> {
    const pinned = JSON.stringify(this.commands);
    return {
      appliedIndex: this.#appliedIndex,
      write: (sink) => sink(bytesOf(pinned)),
      release: () => {},
    };
  }

  async restore(appliedIndex: LogIndex, body: AsyncIterable<Uint8Array>): Promise<void> {
    if (this.gate !== undefined) await this.gate;
    const chunks: Uint8Array[] = [];
    for await (const chunk of body) chunks.push(chunk);
    const commands: unknown = JSON.parse(textOf(Buffer.concat(chunks)));
    if (!Array.isArray(commands)) throw new Error("the body is no list");
    this.restoreTo({ appliedIndex, commands: commands.map(String) });
    this.restoredAt.push(appliedIndex);
    this.record(`restored ${appliedIndex}`);
  }

  restoreTo(state: MachineState): void {
    this.commands = [...state.commands];
    this.#appliedIndex = state.appliedIndex;
    this.sync();
  }

  async close(): Promise<void> {
    this.sync();
    this.record("machine.close");
    this.closed = true;
  }
}
