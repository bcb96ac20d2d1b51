// Whose body restores a snapshot: a node that has just received one may finish one of its own for the same position, and
// the store keeps one of them. Real snapshot files.

import { fromBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { newConfState } from "../../src/core/messages.js";
import type { Snapshot } from "../../src/gen/eraftpb_pb.js";
import { SnapshotDescriptorSchema } from "../../src/gen/records_pb.js";
import { installBody, openBody } from "../../src/node/snapshotting.js";
import { SnapshotFiles } from "../../src/storage/snapshot-files.js";
import { MEMBERS, temporaryFolder } from "../storage/support.js";

const BODY = Buffer.from("the state as of 66");

async function make(files: SnapshotFiles, index: bigint): Promise<Snapshot> {
  const metadata = {
    $typeName: "eraftpb.SnapshotMetadata",
    index,
    term: 2n,
    confState: newConfState(),
  } as const;
  return files.create(metadata, MEMBERS, (sink) => sink(BODY));
}

async function received(
  index: bigint,
): Promise<{ readonly files: SnapshotFiles; readonly snapshot: Snapshot }> {
  const snapshot = await make(await SnapshotFiles.open(await temporaryFolder()), index);
  const files = await SnapshotFiles.open(await temporaryFolder());
  const receiver = await files.receive(fromBinary(SnapshotDescriptorSchema, snapshot.data));
  await receiver.write(0, BODY);
  await receiver.finish();
  await installBody(snapshot, files);
  return { files, snapshot };
}

test("a node's own snapshot of the same position stands in for the one that it took the place of", async () => {
  const { files, snapshot } = await received(66n);
  await make(files, 66n);
  const body = await openBody(snapshot, files);
  expect(Buffer.from(await body.read(0, 100))).toEqual(BODY);
  await body.close();
});

test("a snapshot of another position does not", async () => {
  const { files, snapshot } = await received(66n);
  await make(files, 67n);
  await expect(openBody(snapshot, files)).rejects.toThrow();
});
