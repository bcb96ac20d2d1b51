// What a node has sent or handed out stays as it was, for ever: everything that leaves a RawNode during a storm is
// kept, with its text at that time, and looked at again when the storm is over. Messages that go in are kept as well:
// they are their senders', and the node must not write into them.

import { expect, test } from "vitest";
import {
  type ConfChange,
  type ConfChangeV2,
  type ConfigInput,
  type ConfState,
  type LightReady,
  MemoryStorage,
  type Message,
  RawNode,
  type Ready,
  type StepOutcome,
} from "../../../src/core/index.js";
import { imageOf } from "../../support/state-image.js";
import { Storm } from "../../support/storm.js";
import { bytes } from "../../support/test-node.js";

class Keepsakes {
  readonly #kept: { readonly what: string; readonly value: unknown; readonly image: string }[] = [];

  keep<T>(what: string, value: T): T {
    this.#kept.push({ what, value, image: imageOf(value) });
    return value;
  }

  count(what: string): number {
    return this.#kept.filter((kept) => kept.what === what).length;
  }

  /** Then and now, of all that is no longer as it was. */
  changed(): string[] {
    return this.#kept
      .filter(({ value, image }) => imageOf(value) !== image)
      .map(({ what, value, image }) => `${what} was\n${image}\nand is\n${imageOf(value)}`);
  }
}

class KeepingNode extends RawNode {
  readonly #keepsakes: Keepsakes;

  constructor(config: ConfigInput, storage: MemoryStorage, keepsakes: Keepsakes) {
    super({ ...config, trace: (event) => keepsakes.keep("trace event", event) }, storage);
    this.#keepsakes = keepsakes;
  }

  override ready(): Ready {
    const waiting = this.snap();
    if (waiting !== undefined) this.#keepsakes.keep("snapshot", waiting);
    this.#keepsakes.keep("status", this.status());
    return this.#keepsakes.keep("Ready", super.ready());
  }

  override advanceAppend(ready: Ready): LightReady {
    return this.#keepsakes.keep("LightReady", super.advanceAppend(ready));
  }

  override applyConfChange(change: ConfChange | ConfChangeV2): ConfState {
    return this.#keepsakes.keep("ConfState", super.applyConfChange(change));
  }

  override step(message: Message): StepOutcome {
    return super.step(this.#keepsakes.keep("message", message));
  }
}

test("E13: nothing that was handed out in a storm is changed later", () => {
  const keepsakes = new Keepsakes();
  for (const seed of [1, 2, 3, 4]) {
    const storm = new Storm({
      seed,
      events: 1_500,
      createNode: (config, storage) => new KeepingNode(config, storage, keepsakes),
    });
    storm.run(1_500);
    storm.heal();
    expect(keepsakes.changed(), `storm ${seed}`).toEqual([]);
  }
  for (const what of ["Ready", "status", "message", "trace event"]) {
    expect(keepsakes.count(what), what).toBeGreaterThan(500);
  }
  for (const what of ["ConfState", "snapshot"]) expect(keepsakes.count(what), what).toBeGreaterThan(0);
});

test("E13: nor what a node hands out that stores and applies at once", () => {
  const keepsakes = new Keepsakes();
  const storage = MemoryStorage.withConfState({ voters: [1n], learners: [2n] });
  const node = new KeepingNode({ id: 1n, applied: 1n, randomInt: (min) => min }, storage, keepsakes);
  node.campaign();
  for (let round = 0; round < 50; round += 1) {
    node.propose(bytes("about"), bytes(`command ${round}`));
    const ready = node.ready();
    storage.append(ready.entries);
    node.advance(ready);
  }
  expect(node.raft.log.committed).toBe(51n);
  expect(keepsakes.count("LightReady")).toBe(50);
  expect(keepsakes.changed()).toEqual([]);
});
