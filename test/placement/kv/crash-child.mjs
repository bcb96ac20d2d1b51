// A process that the crash test kills: it applies commands, or restores one snapshot after the other, until then.
// Arguments: the store's folder, then `apply`, or `restore` and the files of two snapshot bodies.

import { createReadStream } from "node:fs";
import { encodeDelete, encodeSet } from "../../../dist/placement/kv/kv-command.js";
import { KvStateMachine } from "../../../dist/placement/kv/kv-state-machine.js";

const [dir = "", mode, ...bodies] = process.argv.slice(2);
const machine = await KvStateMachine.open({ dir, flushDelayMs: 0 });

if (mode === "apply") {
  for (let index = machine.appliedIndex + 1n; ; index += 1n) {
    await machine.apply([{ index, term: 1n, data: commandAt(index) }], index);
    // Also lets the write under way report back.
    await new Promise((resolve) => setImmediate(resolve));
    process.stdout.write(`${machine.durableIndex}\n`);
  }
} else {
  for (let round = 1; ; round += 1) {
    const which = round % 2;
    await machine.restore(BigInt(which + 1), createReadStream(bodies[which] ?? ""));
    process.stdout.write(`${round}\n`);
  }
}

/** The same in the test: every index has one command. */
function commandAt(index) {
  const key = `key-${index % 97n}`;
  if (index % 7n === 0n) return encodeDelete(key);
  return encodeSet(key, Buffer.alloc(Number((index * 131n) % 5_000n), `${index}`));
}
