// The snapshot files keep the contract of a SnapshotStore that is exported for embedders, on a real disk.

import { test } from "vitest";
import { SnapshotFiles } from "../../src/storage/snapshot-files.js";
import {
  type SnapshotStoreUnderTest,
  snapshotStoreContract,
} from "../../src/testing/snapshot-store-contract.js";
import { temporaryFolder } from "./support.js";

async function open(dir: string): Promise<SnapshotStoreUnderTest> {
  return { store: await SnapshotFiles.open(dir), reopen: () => open(dir) };
}

for (const { name, run } of snapshotStoreContract(async () => open(await temporaryFolder()))) test(name, run);
