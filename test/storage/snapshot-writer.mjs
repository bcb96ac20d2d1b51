// A process that makes, receives and installs snapshots in a folder, `node snapshot-writer.mjs FOLDER`, and prints
// "acked N" when the snapshot at index N is the latest for good. Made and received ones take turns, and one transfer
// is broken off and resumed.

import { writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { fromBinary } from "@bufbuild/protobuf";
import { newConfState, newSnapshot } from "../../dist/core/messages.js";
import { SnapshotDescriptorSchema } from "../../dist/gen/records_pb.js";
import { SnapshotFiles } from "../../dist/storage/snapshot-files.js";

const [, , dir] = process.argv;
const files = await SnapshotFiles.open(dir);
// Outside of the folder that is looked at: the other node.
const others = await SnapshotFiles.open(join(dirname(dir), "other-node"));

const body = (index) => new Uint8Array(20_000 + index * 7_000).fill(index);
const make = (store, index) =>
  store.create(
    newSnapshot(BigInt(index), 1n, newConfState({ voters: [1n] })).metadata,
    { $typeName: "raftnode.records.v1.MembershipRecord", index: BigInt(index), addresses: [] },
    async (sink) => {
      for (let at = 0; at < body(index).length; at += 9_000) await sink(body(index).subarray(at, at + 9_000));
    },
  );

for (let index = 1; index <= 4; index += 1) {
  if (index % 2 === 1) {
    await make(files, index);
  } else {
    const snapshot = await make(others, index);
    const descriptor = fromBinary(SnapshotDescriptorSchema, snapshot.data);
    let receiver = await files.receive(descriptor);
    await receiver.write(0, body(index).subarray(0, 12_345));
    await receiver.suspend();
    receiver = await files.receive(descriptor);
    await receiver.write(12_345, body(index).subarray(12_345));
    await receiver.finish();
    await files.install(snapshot);
  }
  writeSync(1, `acked ${index}\n`);
}
