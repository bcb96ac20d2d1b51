// Rewriting the membership of a stopped node's log: what changes, what stays, and everything that keeps it from being
// done. Real logs on disk.

import { describe, expect, onTestFinished, test } from "vitest";
import { newNormalEntry } from "../../src/core/messages.js";
import { EntryType } from "../../src/gen/eraftpb_pb.js";
import { LogInspector } from "../../src/storage/inspect-log.js";
import { MembershipRewrite, type RewriteTarget } from "../../src/storage/membership-rewrite.js";
import { contents, entriesOf, MEMBERS, numbered, openLog, temporaryFolder, writeOf } from "./support.js";

const ALONE = new Map([[1n, "new-1:4001"]]);
const SURVIVORS = new Map([
  [1n, "node-1:4001"],
  [2n, "node-2:4001"],
]);

/** Entries 2 to 20, committed up to 15, in term 3; `change` is one that changes the membership. */
async function stoppedLog(change?: number): Promise<string> {
  const dir = await temporaryFolder();
  const log = await openLog(dir, { bootstrap: MEMBERS });
  const entries = entriesOf(2, 20, 3).map((entry) =>
    entry.index === BigInt(change ?? 0)
      ? { ...newNormalEntry(3n, entry.index), entryType: EntryType.EntryConfChangeV2 }
      : entry,
  );
  await log.append(writeOf(entries, 15, 3));
  await log.close();
  return dir;
}

async function openRewrite(dir: string): Promise<MembershipRewrite> {
  const rewrite = await MembershipRewrite.open(dir);
  onTestFinished(() => rewrite.close());
  return rewrite;
}

async function rewriteTo(dir: string, target: RewriteTarget): Promise<void> {
  const rewrite = await openRewrite(dir);
  await rewrite.apply(rewrite.plan(target));
  await rewrite.close();
}

describe("alone", () => {
  test("the node is its only voter, in a new term, with every entry and its commit index", async () => {
    const dir = await stoppedLog(18);
    await rewriteTo(dir, { members: ALONE });
    const log = await openLog(dir);
    expect(contents(log)).toEqual(numbered(2, 20, 3));
    expect(log.storage.initialState()).toMatchObject({
      hardState: { term: 4n, vote: 0n, commit: 15n },
      confState: { voters: [1n], learners: [], votersOutgoing: [] },
    });
    // A change of the old membership that the log still holds counts as done.
    expect(log.membership).toMatchObject({ index: 20n, addresses: [{ id: 1n, address: "new-1:4001" }] });
  });

  test("under another cluster id, the folder is that cluster's from then on", async () => {
    const dir = await stoppedLog();
    await rewriteTo(dir, { members: ALONE, clusterId: "reborn" });
    await expect(openLog(dir)).rejects.toMatchObject({ code: "foreignCluster" });
    expect((await openLog(dir, { clusterId: "reborn" })).identity.clusterId).toBe("reborn");
  });
});

describe("of several survivors", () => {
  test("each keeps the index of its membership, so that they carry out alike what follows", async () => {
    const dir = await stoppedLog();
    await rewriteTo(dir, { members: SURVIVORS });
    const log = await openLog(dir);
    expect(log.membership).toMatchObject({ index: 1n, confState: { voters: [1n, 2n] } });
    expect(log.storage.initialState().hardState.term).toBe(4n);
  });

  test("none may hold a change of the membership in its log", async () => {
    const rewrite = await openRewrite(await stoppedLog(18));
    expect(rewrite.facts.membershipEntries).toEqual([18n]);
    expect(() => rewrite.plan({ members: SURVIVORS })).toThrow(/entries 18.*recover one node alone/);
  });

  test("the node itself must be among them", async () => {
    const rewrite = await openRewrite(await stoppedLog());
    expect(() => rewrite.plan({ members: new Map([[2n, "node-2:4001"]]) })).toThrow(/lack node 1 itself/);
  });
});

describe("nothing is changed", () => {
  test("while a node has the log open", async () => {
    const dir = await stoppedLog();
    await openLog(dir);
    await expect(MembershipRewrite.open(dir)).rejects.toMatchObject({ code: "locked" });
  });

  test("by planning alone; and while it is planned no node can be started", async () => {
    const dir = await stoppedLog();
    const rewrite = await openRewrite(dir);
    rewrite.plan({ members: ALONE });
    await expect(openLog(dir)).rejects.toMatchObject({ code: "locked" });
    await rewrite.close();
    const inspector = await LogInspector.open(dir);
    onTestFinished(() => inspector.close());
    expect(inspector.records.membership?.confState?.voters).toEqual([1n, 2n, 3n]);
  });
});
