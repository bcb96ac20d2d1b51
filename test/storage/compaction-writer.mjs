// A process that compacts the file of a log while it appends to it, `node compaction-writer.mjs FOLDER`, and prints
// "acked N" when entry N is on disk, "begins" and "ends" around the compaction of the file. The log loses its first
// entries and has a suffix replaced in the middle of it; entries from 701 on are of term 2.

import { writeSync } from "node:fs";
import { newHardState, newNormalEntry } from "../../dist/core/messages.js";
import { LmdbStorage } from "../../dist/storage/lmdb-storage.js";

const [, , dir] = process.argv;
const say = (line) => writeSync(1, `${line}\n`);
const log = await LmdbStorage.open({
  dir,
  clusterId: "test-cluster",
  nodeId: 1n,
  snapshots: { latest: () => undefined },
  compactFileBytes: Number.POSITIVE_INFINITY,
});

const append = async (from, to, term, commit) => {
  const entries = [];
  for (let index = from; index <= to; index += 1) {
    entries.push(newNormalEntry(BigInt(term), BigInt(index), new Uint8Array(100).fill(index)));
  }
  const hardState = newHardState(BigInt(term), 0n, BigInt(commit));
  await log.append({ snapshot: undefined, entries, hardState, mustSync: true });
  say(`acked ${to}`);
};

await append(1, 750, 1, 700);
await log.compact(100n);
say("begins");
let compacting = true;
const compacted = log.compactFile().finally(() => {
  compacting = false;
});
let last = 720;
await append(701, last, 2, 700);
for (let cut = 110; compacting; cut += 10) {
  await append(last + 1, last + 5, 2, 700);
  last += 5;
  if (cut < 600) await log.compact(BigInt(cut));
}
if (!(await compacted)) throw new Error("the file was not compacted");
// The first entry that is in the new file alone: it counts on the file's name being durable.
await append(last + 1, last + 1, 2, last + 1);
say("ends");
await log.close();
