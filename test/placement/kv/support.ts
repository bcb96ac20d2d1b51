// What the tests of the key-value store share: commands by hand, folders of their own, snapshots as bytes.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Command } from "../../../src/node/ports.js";
import { decodeResult, encodeDelete, encodeSet } from "../../../src/placement/kv/kv-command.js";
import type { KvStateMachine } from "../../../src/placement/kv/kv-state-machine.js";

/** A folder that is gone when the test is over. */
export function temporaryFolder(onTestFinished: (run: () => void) => void): string {
  const dir = mkdtempSync(join(tmpdir(), "raft-node-kv-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

export function setCommand(index: bigint, key: string, value: string): Command {
  return { index, term: 1n, data: encodeSet(key, Buffer.from(value)) };
}

export function deleteCommand(index: bigint, key: string): Command {
  return { index, term: 1n, data: encodeDelete(key) };
}

/** Applies commands that follow each other, and returns what they came to. */
export async function applyAll(machine: KvStateMachine, commands: readonly Command[]) {
  const results = await machine.apply(commands, commands.at(-1)?.index ?? machine.appliedIndex);
  return results.map((bytes) => {
    const { revision, existed, rejected } = decodeResult(bytes);
    return { revision, existed, rejected };
  });
}

export function textOf(machine: KvStateMachine, key: string): string | undefined {
  const record = machine.get(key);
  return record && Buffer.from(record.value).toString();
}

export async function snapshotBytes(machine: KvStateMachine): Promise<Buffer> {
  const snapshot = await machine.snapshot();
  const chunks: Uint8Array[] = [];
  await snapshot.write(async (chunk) => {
    chunks.push(Uint8Array.from(chunk));
  });
  snapshot.release();
  return Buffer.concat(chunks);
}

/** `bytes` in chunks of `chunkBytes`. */
export async function* inChunks(bytes: Uint8Array, chunkBytes: number): AsyncGenerator<Uint8Array> {
  for (let offset = 0; offset < bytes.length; offset += chunkBytes) {
    yield bytes.subarray(offset, offset + chunkBytes);
  }
}
