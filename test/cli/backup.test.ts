// Backup files without any cluster: whatever byte is damaged and wherever the file is cut off, it is refused; a node's own
// snapshot files can be read too; and a restore that was cut short leaves nothing that a node would start with.

import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { expect, onTestFinished, test } from "vitest";
import { BackupFile, BackupWriter } from "../../src/cli/backup/backup-file.js";
import { type RestoreRequest, restoreBackup } from "../../src/cli/backup/restore-backup.js";
import { verifyBackup } from "../../src/cli/backup/verify-backup.js";
import { CommandError } from "../../src/cli/exit-status.js";
import { SnapshotInfoSchema } from "../../src/gen/service_pb.js";
import { KvStateMachine } from "../../src/placement/kv/kv-state-machine.js";
import { startPlacementCenter } from "../../src/placement/server.js";
import { crc32 } from "../../src/storage/checksum.js";
import { SnapshotFiles } from "../../src/storage/snapshot-files.js";
import { applyAll, setCommand, snapshotBytes, temporaryFolder } from "../placement/kv/support.js";

const KEYS = 5;
const INDEX = 10n;
const TERM = 3n;

/** A file with a few keys, as `snapshot save` would write it. */
async function newBackup(): Promise<{ readonly folder: string; readonly file: string }> {
  const folder = temporaryFolder(onTestFinished);
  const machine = await KvStateMachine.open({ dir: join(folder, "kv") });
  await applyAll(
    machine,
    Array.from({ length: KEYS }, (_, at) => setCommand(INDEX - BigInt(KEYS - 1 - at), `key-${at}`, `v${at}`)),
  );
  const body = await snapshotBytes(machine);
  await machine.close();
  const file = join(folder, "backup");
  const handle = await open(file, "w");
  const writer = new BackupWriter(handle);
  await writer.write(body.subarray(0, 50));
  await writer.write(body.subarray(50));
  const sizeBytes = BigInt(body.length);
  const info = { index: INDEX, term: TERM, sizeBytes, checksum: crc32(body), clusterId: "old" };
  await writer.finish(create(SnapshotInfoSchema, info));
  await handle.close();
  return { folder, file };
}

function restoreRequest(file: string, folder: string, more: Partial<RestoreRequest> = {}): RestoreRequest {
  const members = new Map([[1n, "127.0.0.1:1"]]);
  return { file, folder, nodeId: 1n, clusterId: "new", members, reuseClusterId: false, ...more };
}

const quiet = () => {};

test("a sound backup is told as what it is", async () => {
  const { file } = await newBackup();
  expect(await verifyBackup(file)).toEqual({ revision: BigInt(KEYS), keys: BigInt(KEYS), sessions: 0n });
  const backup = await BackupFile.open(file);
  expect(backup).toMatchObject({ kind: "backup", info: { clusterId: "old", index: INDEX, term: TERM } });
  await backup.close();
});

test("every damaged byte is noticed, and every place where the file may be cut off", async () => {
  const { folder, file } = await newBackup();
  const bytes = readFileSync(file);
  const damaged = join(folder, "damaged");
  const refused = async (content: Uint8Array, what: string) => {
    writeFileSync(damaged, content);
    const outcome = await verifyBackup(damaged).catch((error: unknown) => error);
    expect(outcome, what).toBeInstanceOf(CommandError);
  };
  for (let at = 0; at < bytes.length; at += 1) {
    const copy = Buffer.from(bytes);
    copy[at] = (copy[at] ?? 0) ^ 0x10;
    await refused(copy, `byte ${at} of ${bytes.length}`);
  }
  for (let length = 0; length < bytes.length; length += 1) {
    await refused(bytes.subarray(0, length), `cut off at ${length}`);
  }
  await refused(Buffer.concat([bytes, Buffer.alloc(1)]), "one byte more");
});

test("a snapshot from a node's own folder is read as well, and makes a node", async () => {
  const { folder, file } = await newBackup();
  await restoreBackup(restoreRequest(file, join(folder, "first")), quiet);
  const [name = ""] = readdirSync(join(folder, "first", "snapshots"));
  const own = join(folder, "first", "snapshots", name);
  const backup = await BackupFile.open(own);
  expect(backup).toMatchObject({ kind: "node", info: { index: INDEX, term: TERM } });
  await backup.close();
  expect((await SnapshotFiles.open(join(folder, "first", "snapshots"))).latest()?.metadata?.index).toBe(
    INDEX,
  );

  const data = join(folder, "second");
  await restoreBackup(restoreRequest(own, data), quiet);
  const center = await startPlacementCenter({
    id: 1n,
    clusterId: "new",
    dataDir: data,
    listen: "127.0.0.1:0",
    tickIntervalMs: 10,
  });
  onTestFinished(() => center.stop());
  expect(center.store.recordCount).toBe(BigInt(KEYS));
  expect(center.node.status()).toMatchObject({ term: TERM, applied: INDEX });
  await expect.poll(() => center.node.isLeader, { timeout: 20_000 }).toBe(true);
});

test("what an earlier attempt has left behind is no obstacle, and what a folder holds is never touched", async () => {
  const { folder, file } = await newBackup();
  const data = join(folder, "node");
  mkdirSync(`${data}.restoring/log`, { recursive: true });
  mkdirSync(data);
  await restoreBackup(restoreRequest(file, data), quiet);
  expect(readdirSync(data).toSorted()).toEqual(["kv", "log", "snapshots"]);
  expect(existsSync(`${data}.restoring`)).toBe(false);
  const again = restoreBackup(restoreRequest(file, data), quiet);
  await expect(again).rejects.toThrow(/not empty/);
});

test("the id of the cluster that the backup is of has to be asked for", async () => {
  const { folder, file } = await newBackup();
  const same = restoreRequest(file, join(folder, "node"), { clusterId: "old" });
  await expect(restoreBackup(same, quiet)).rejects.toThrow(/--reuse-cluster-id/);
  await restoreBackup({ ...same, reuseClusterId: true }, quiet);
  expect(existsSync(join(folder, "node", "log"))).toBe(true);
});
