// Kills a real process, by SIGKILL, while it applies commands or restores snapshots, then opens the same files: the
// store must stand exactly at one index, no earlier than what was reported durable; a restore is whole or not at all.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { describe, expect, onTestFinished, test } from "vitest";
import { KvStateMachine } from "../../../src/placement/kv/kv-state-machine.js";
import { applyAll, setCommand, snapshotBytes, temporaryFolder } from "./support.js";

const CHILD = fileURLToPath(new URL("./crash-child.mjs", import.meta.url));

/** Kills the child some milliseconds after it has printed at least `least`; returns the last number. */
async function runAndKill(args: readonly string[], least: bigint, delayMs: number): Promise<bigint> {
  const child = spawn(process.execPath, [CHILD, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  let last = 0n;
  let errors = "";
  child.stderr.on("data", (chunk) => {
    errors += chunk;
  });
  const exited = once(child, "exit");
  const lines = createInterface({ input: child.stdout });
  const enough = new Promise<void>((resolve) => {
    lines.on("line", (line) => {
      last = BigInt(line);
      if (last >= least) resolve();
    });
  });
  await Promise.race([enough, exited]);
  await new Promise((resolve) => setTimeout(resolve, delayMs));
  child.kill("SIGKILL");
  await exited;
  expect(errors).toBe("");
  return last;
}

/** What the child's commands 1 to `applied` lead to: the key's value by its last command. */
function expectedStore(applied: bigint): Map<string, Buffer> {
  const expected = new Map<string, Buffer>();
  for (let index = 1n; index <= applied; index += 1n) {
    const key = `key-${index % 97n}`;
    if (index % 7n === 0n) expected.delete(key);
    else expected.set(key, Buffer.alloc(Number((index * 131n) % 5_000n), `${index}`));
  }
  return expected;
}

async function opened<T>(dir: string, look: (machine: KvStateMachine) => Promise<T> | T): Promise<T> {
  const machine = await KvStateMachine.open({ dir });
  try {
    return await look(machine);
  } finally {
    await machine.close();
  }
}

describe("after SIGKILL", () => {
  test("a store that was being written to holds exactly the commands up to its applied index", async () => {
    const dir = temporaryFolder(onTestFinished);
    let before = 0n;
    for (let round = 0; round < 6; round += 1) {
      const enough = before + 20n + 37n * BigInt(round);
      const reported = await runAndKill([dir, "apply"], enough, round * 3);
      before = await opened(dir, (machine) => {
        expect(machine.appliedIndex).toBeGreaterThanOrEqual(reported);
        expect(reported).toBeGreaterThanOrEqual(enough);
        const expected = expectedStore(machine.appliedIndex);
        expect(machine.recordCount).toBe(BigInt(expected.size));
        for (const [key, value] of expected) {
          expect(Buffer.from(machine.get(key)?.value ?? []).equals(value), `${key} in round ${round}`).toBe(
            true,
          );
        }
        return machine.appliedIndex;
      });
    }
  });

  test("a store that was being replaced by a snapshot is the one or the other", async () => {
    const dir = temporaryFolder(onTestFinished);
    const bodies: { readonly bytes: Buffer; readonly file: string }[] = [];
    for (const [at, name] of ["one", "two"].entries()) {
      const bytes = await opened(join(dir, name), async (machine) => {
        // Body number n is as of index n; the bodies share no key.
        const { data } = setCommand(0n, name, name.repeat(500_000));
        if (at === 1) await machine.apply([], 1n);
        await applyAll(machine, [{ index: BigInt(at + 1), term: 1n, data }]);
        return snapshotBytes(machine);
      });
      const file = join(dir, `${name}.body`);
      writeFileSync(file, bytes);
      bodies.push({ bytes, file });
    }
    const store = join(dir, "store");
    const files = bodies.map(({ file }) => file);
    for (let round = 0; round < 8; round += 1) {
      await runAndKill([store, "restore", ...files], BigInt(1 + round), round);
      const found = await opened(store, snapshotBytes);
      expect(
        bodies.some(({ bytes }) => bytes.equals(found)),
        `round ${round}`,
      ).toBe(true);
    }
  });
});
