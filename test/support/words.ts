// A state machine of a few lines, to stand for an embedder's.

import type { Command, StateMachine, StateMachineSnapshot } from "../../src/node/ports.js";

/** Joins all commands to one text. Forgets it when it is closed: the log brings it back. */
export class Words implements StateMachine {
  appliedIndex = 0n;
  durableIndex = 0n;
  text = "";
  closed = false;

  apply(commands: readonly Command[], appliedIndex: bigint): readonly Uint8Array[] {
    this.appliedIndex = appliedIndex;
    return commands.map(({ data }) => {
      this.text += Buffer.from(data).toString();
      return Buffer.from(this.text);
    });
  }

  async snapshot(): Promise<StateMachineSnapshot> {
    const { text, appliedIndex } = this;
    return { appliedIndex, write: (sink) => sink(Buffer.from(text)), release: () => {} };
  }

  async restore(appliedIndex: bigint, body: AsyncIterable<Uint8Array>): Promise<void> {
    const chunks: Uint8Array[] = [];
    for await (const chunk of body) chunks.push(chunk);
    this.text = Buffer.concat(chunks).toString();
    this.appliedIndex = appliedIndex;
  }

  async close(): Promise<void> {
    this.closed = true;
  }
}
