// A RawNode that looks at its invariants after every input, whoever makes it and however it is made.

import { RawNode } from "../../src/core/index.js";
import { checkInvariants } from "../../src/core/raft/invariants.js";

export class CheckedNode extends RawNode {}

/** Changes nothing, and is asked all the time. */
const QUESTIONS: ReadonlySet<string> = new Set(["constructor", "hasReady", "snap", "status"]);

for (const [name, { value: method }] of Object.entries(Object.getOwnPropertyDescriptors(RawNode.prototype))) {
  if (QUESTIONS.has(name) || typeof method !== "function") continue;
  Object.defineProperty(CheckedNode.prototype, name, {
    value(this: CheckedNode, ...inputs: unknown[]): unknown {
      const result: unknown = Reflect.apply(method, this, inputs);
      checkInvariants(this.raft);
      return result;
    },
  });
}
