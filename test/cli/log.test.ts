// `placement-center log dump|verify|stats` on real logs: of a stopped node, of one that has its log open, and damaged
// ones. Commands of the key-value store and membership changes are shown decoded.

import { readFileSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { describe, expect, onTestFinished, test } from "vitest";
import { summarizePayload } from "../../src/cli/log/payload.js";
import { newNormalEntry } from "../../src/core/messages.js";
import { ConfChangeType, ConfChangeV2Schema, EntrySchema, EntryType } from "../../src/gen/eraftpb_pb.js";
import { MembershipContextSchema } from "../../src/gen/records_pb.js";
import { encodeDelete, encodeSet } from "../../src/placement/kv/kv-command.js";
import { MEMBERS, openLog, writeOf } from "../storage/support.js";
import { runInProcess } from "./recorded-output.js";

const change = create(ConfChangeV2Schema, {
  changes: [{ type: ConfChangeType.AddLearnerNode, nodeId: 4n }],
  context: toBinary(
    MembershipContextSchema,
    create(MembershipContextSchema, { addresses: [{ id: 4n, address: "node-4:4001" }] }),
  ),
});
const ENTRIES = [
  newNormalEntry(1n, 2n),
  newNormalEntry(1n, 3n, encodeSet("city", Buffer.from("Zürich"))),
  { ...newNormalEntry(1n, 4n, toBinary(ConfChangeV2Schema, change)), entryType: EntryType.EntryConfChangeV2 },
  newNormalEntry(2n, 5n, encodeDelete("city")),
];

/** The data folder of a node that was stopped: entries 2 to 5, the last of them not committed. */
async function stoppedNode(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "placement-center-log-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const log = await openLog(join(folder, "log"), { bootstrap: MEMBERS });
  await log.append(writeOf(ENTRIES, 4, 2));
  await log.close();
  return folder;
}

describe("log dump", () => {
  test("prints the log's own data, then one entry a line, decoded, what is uncommitted marked", async () => {
    const { status, lines } = await runInProcess("log", "dump", await stoppedNode());
    expect(status).toBe(0);
    const text = lines.join("\n");
    expect(text).toMatch(/^identity +node 1 of cluster test-cluster, format version 1$/m);
    expect(text).toMatch(/^boundary +index 1, term 1/m);
    expect(text).toMatch(/^hard state +term 2, vote none, commit 4$/m);
    expect(text).toMatch(/as of index 1: 1 node-1:4001 voter$/m);
    expect(text).toMatch(/^ +3 node-3:4001 voter$/m);
    expect(lines.slice(-5)).toEqual([
      expect.stringMatching(/^ +2 +term 1 +normal +\d+ B +empty$/),
      expect.stringMatching(/^ +3 +term 1 +normal +\d+ B +set "city" "Zürich"$/),
      expect.stringMatching(/^ +4 +term 1 +change2 +\d+ B +add learner 4 at node-4:4001$/),
      expect.stringMatching(/^ +5 +term 2 +normal +\d+ B +delete "city" +\[uncommitted\]$/),
      "4 entries, 0 damaged",
    ]);
  });

  test("prints a range, and no more than was asked for", async () => {
    const folder = await stoppedNode();
    const range = await runInProcess("log", "dump", folder, "--from", "3", "--to", "4", "--json");
    expect(range.lines.map((line): unknown => JSON.parse(line))).toEqual([
      expect.objectContaining({ kind: "log", nodeId: "1", lastIndex: "5", problems: [] }),
      expect.objectContaining({ kind: "entry", index: "3", type: "normal", standing: "committed" }),
      expect.objectContaining({ kind: "entry", index: "4", summary: "add learner 4 at node-4:4001" }),
      { kind: "end", entries: 2, damaged: 0 },
    ]);
    const limited = await runInProcess("log", "dump", folder, "--limit", "1");
    expect(limited.lines.at(-1)).toBe("1 entries, 0 damaged");
  });

  test("reads the log of a node that has it open, and says which process that is", async () => {
    const folder = await stoppedNode();
    const log = await openLog(join(folder, "log"));
    await log.append(writeOf([newNormalEntry(2n, 6n, encodeSet("late", Buffer.from("yes")))], 6, 2));
    const { status, lines } = await runInProcess("log", "dump", folder);
    expect(status).toBe(0);
    expect(lines[0]).toContain(`in use by process ${process.pid}`);
    expect(lines.at(-2)).toContain('set "late" "yes"');
  });

  test("lists damaged records, goes on with the rest, and ends with status 1", async () => {
    const folder = await stoppedNode();
    const file = join(folder, "log", "raft.mdb");
    const bytes = readFileSync(file);
    bytes.writeUInt8(0, bytes.lastIndexOf("Zürich"));
    writeFileSync(file, bytes);
    const { status, lines } = await runInProcess("log", "dump", folder);
    expect(status).toBe(1);
    expect(lines.slice(-4)).toEqual([
      expect.stringMatching(/^DAMAGED +\/raft\/entry\/3: the checksum does not match/),
      expect.stringMatching(/^ +4 /),
      expect.stringMatching(/^ +5 /),
      "3 entries, 1 damaged",
    ]);
    const verified = await runInProcess("log", "verify", folder);
    expect(verified.status).toBe(1);
    expect(verified.lines.join("\n")).toMatch(
      /^1 problems in .*raft.mdb\n +\/raft\/entry\/3: .*\nwhat to do: /,
    );
    expect((await runInProcess("log", "stats", folder)).status).toBe(0);
  });
});

describe("log verify and log stats", () => {
  test("say that a sound log is sound, and what it holds", async () => {
    const folder = await stoppedNode();
    const verified = await runInProcess("log", "verify", folder);
    expect(verified).toMatchObject({ status: 0, lines: [expect.stringMatching(/^sound: 4 entries/)] });
    const stats = (await runInProcess("log", "stats", folder)).lines.join("\n");
    expect(stats).toMatch(/^types +2 commands, 1 empty, 1 membership changes$/m);
    expect(stats).toMatch(/^term +2: entries 5 to 5$/m);
    const asJson = await runInProcess("log", "stats", folder, "--json");
    expect(JSON.parse(asJson.lines[0] ?? "")).toMatchObject({
      sound: true,
      entries: 4,
      uncommitted: 1,
      byType: { normal: 2, empty: 1, membership: 1 },
      inUseBy: null,
    });
  });

  test("of a folder without a log are an error that says which folder is meant", async () => {
    const folder = await mkdtemp(join(tmpdir(), "placement-center-log-"));
    onTestFinished(() => rm(folder, { recursive: true, force: true }));
    const { status, notes } = await runInProcess("log", "verify", folder);
    expect([status, notes]).toEqual([1, expect.stringMatching(/no log here.*--data/)]);
    expect((await runInProcess("log", "dump")).status).toBe(2);
    expect((await runInProcess("log", "dump", folder, "--from", "x")).notes).toMatch(/--from.*whole number/);
  });
});

describe("what an entry asks for", () => {
  test.each([
    [
      "long values are cut, and their size is told",
      encodeSet("k", Buffer.alloc(100, "a")),
      /^set "k" "a{48}" … 100 bytes$/,
    ],
    ["bytes that are no text are shown as such", encodeSet("k", Buffer.from([0xff, 0])), /^set "k" 0xff00$/],
    [
      "a cut inside of a character shows those before it",
      encodeSet("k", Buffer.from("é".repeat(40).replace("é", "e"))),
      /^set "k" "eé{23}" … 79 bytes$/,
    ],
    [
      "bytes that are no command are shown as such",
      Buffer.from([0xff, 0xff]),
      /^not decodable, 2 bytes: ffff$/,
    ],
  ])("%s", (_, data, shown) => {
    expect(summarizePayload(newNormalEntry(1n, 1n, new Uint8Array(data)))).toMatch(shown);
  });

  test("a type that nobody knows is no obstacle", () => {
    // Open enums let any number through the decoder: type 9, term 1, index 1.
    const entry = fromBinary(EntrySchema, Uint8Array.of(8, 9, 16, 1, 24, 1));
    expect(summarizePayload(entry)).toBe("unknown type 9, 0 bytes");
  });
});
