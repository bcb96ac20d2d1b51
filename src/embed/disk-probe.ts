// Shows that the folder of a node can be written to: a small file, written and flushed. The answer holds for a few
// seconds, so that many probes cost the disk no more than one.

import { open } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../node/ports.js";

const FILE_NAME = "disk-probe";
const ANSWER_HOLDS_MS = 5_000;
const DEADLINE_MS = 2_000;

export class DiskProbe {
  #last: { readonly atMs: number; readonly outcome: Promise<void> } | undefined;
  /** One at a time: on a disk that hangs, each would hold a thread for ever. */
  #writing: Promise<void> | undefined;

  constructor(
    private readonly dir: string,
    private readonly clock: Clock,
  ) {}

  /** Rejects when the file cannot be written, or not within two seconds. */
  probe(): Promise<void> {
    const nowMs = this.clock.nowMs();
    if (this.#last === undefined || nowMs - this.#last.atMs >= ANSWER_HOLDS_MS) {
      this.#writing ??= writeProbe(join(this.dir, FILE_NAME)).finally(() => {
        this.#writing = undefined;
      });
      this.#last = { atMs: nowMs, outcome: this.#inTime(this.#writing) };
    }
    return this.#last.outcome;
  }

  #inTime(writing: Promise<void>): Promise<void> {
    const late = new Promise<never>((_, reject) => {
      const cancel = this.clock.after(DEADLINE_MS, () =>
        reject(new Error(`the disk under ${this.dir} has not taken a write for ${DEADLINE_MS} ms`)),
      );
      writing.then(cancel, cancel);
    });
    const outcome = Promise.race([writing, late]);
    // Whoever asks meets it; perhaps nobody does.
    outcome.catch(() => undefined);
    return outcome;
  }
}

async function writeProbe(path: string): Promise<void> {
  const file = await open(path, "w");
  try {
    await file.write(Buffer.from("written to see that the disk takes writes\n"));
    await file.datasync();
  } finally {
    await file.close();
  }
}
