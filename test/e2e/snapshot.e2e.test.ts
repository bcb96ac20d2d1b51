// Backup and restore with real processes: a backup is saved from a cluster of three while writes go on, checked, and made
// into another cluster of three, which has every key that was acknowledged before the backup was begun.

import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http2";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { findFreePorts } from "../../src/cli/processes/ports.js";
import { PlacementClient } from "../../src/placement/client.js";
import { run, start, temporaryFolder } from "./support.js";

const KEYS = 1_000;

interface Cluster {
  readonly addresses: readonly string[];
  readonly members: string;
  readonly folder: string;
  readonly clusterId: string;
}

async function newCluster(clusterId: string): Promise<Cluster> {
  const addresses = (await findFreePorts("127.0.0.1", 3)).map((port) => `127.0.0.1:${port}`);
  const members = addresses.map((address, at) => `${at + 1}=${address}`).join(",");
  return { addresses, members, folder: temporaryFolder(), clusterId };
}

async function startAll({ addresses, members, folder, clusterId }: Cluster): Promise<void> {
  for (const [at, address] of addresses.entries()) {
    const own = ["--id", String(at + 1), "--listen", address, "--data", join(folder, `node-${at + 1}`)];
    const node = start(["start", ...own, "--cluster-id", clusterId, "--members", members, "--tick-ms", "50"]);
    await node.says(/"msg":"listening"/);
  }
}

async function okJson(...args: readonly string[]): Promise<Record<string, unknown>> {
  const { status, stdout, stderr } = await run([...args, "--json"]);
  expect(status, `${args.join(" ")}: ${stderr}`).toBe(0);
  return JSON.parse(stdout);
}

function restoreArgs(file: string, { members, clusterId, folder }: Cluster, id: number): string[] {
  const own = ["--id", String(id), "--data", join(folder, `node-${id}`), "--members", members];
  return ["snapshot", "restore", file, ...own, "--cluster-id", clusterId];
}

test("a backup that was saved under writes becomes another cluster, with every key", async () => {
  const old = await newCluster("old");
  await startAll(old);
  const client = new PlacementClient({ endpoints: old.addresses, deadlineMs: 30_000 });
  for (let from = 0; from < KEYS; from += 100) {
    const keys = Array.from({ length: 100 }, (_, more) => from + more);
    await client.txn({
      success: keys.map((key) => ({ kind: "set", key: `before/${key}`, value: `value-${key}` })),
    });
  }
  let writing = true;
  let during = 0;
  const writer = (async () => {
    for (; writing; during += 1) await client.set(`during/${during}`, "x");
  })();
  const file = join(old.folder, "backup");
  const everywhere = old.addresses.join(",");
  const saved = await okJson("snapshot", "save", file, "-e", everywhere);
  writing = false;
  await writer;
  await client.close();
  expect(saved).toMatchObject({ clusterId: "old", members: [{ id: "1" }, { id: "2" }, { id: "3" }] });
  expect(Number(saved["keys"])).toBeGreaterThanOrEqual(KEYS);
  expect(readdirSync(old.folder).filter((name) => name.startsWith("backup"))).toEqual(["backup"]);

  const again = await run(["snapshot", "save", file, "-e", everywhere]);
  expect(again).toMatchObject({ status: 1, stderr: expect.stringContaining("--overwrite") });
  const [, second = ""] = old.addresses;
  const replaced = await run(["snapshot", "save", file, "--overwrite", "--from", second, "-e", everywhere]);
  expect(replaced).toMatchObject({ status: 0, stdout: expect.stringContaining(`from ${second}`) });

  const { keys, revision } = await okJson("snapshot", "status", file);
  expect(await okJson("snapshot", "verify", file)).toMatchObject({ sound: true, keys, revision });
  expect((await run(["snapshot", "status", file])).stdout).toMatch(/^cluster +old$/m);

  const fresh = await newCluster("fresh");
  for (const id of [1, 2, 3]) {
    expect(await okJson(...restoreArgs(file, fresh, id))).toMatchObject({ nodeId: String(id), keys });
  }
  await startAll(fresh);
  const restored = new PlacementClient({ endpoints: fresh.addresses, deadlineMs: 30_000 });
  const values = new Map<string, string>();
  for await (const { key, value } of restored.entries({ prefix: "before/" })) {
    values.set(key, Buffer.from(value).toString());
  }
  for (let key = 0; key < KEYS; key += 1) expect(values.get(`before/${key}`)).toBe(`value-${key}`);
  let found = 0;
  for await (const _ of restored.entries({ prefix: "" }, { keysOnly: true })) found += 1;
  expect(String(found)).toBe(keys);
  await restored.set("after", "restore");
  await restored.close();
  const list = await okJson("member", "list", "-e", fresh.addresses.join(","));
  expect(list).toMatchObject({
    members: fresh.addresses.map((address, at) => ({ id: String(at + 1), address })),
  });
  expect((await run(["get", "after", "-e", old.addresses[0] ?? "", "--deadline-ms", "2000"])).status).toBe(3);
});

test("what cannot be restored is refused, and the folder stays as it was", async () => {
  const old = await newCluster("old");
  await startAll(old);
  const endpoints = old.addresses.join(",");
  expect((await run(["put", "k", "v", "-e", endpoints, "--deadline-ms", "30000"])).status).toBe(0);
  const file = join(old.folder, "backup");
  await okJson("snapshot", "save", file, "-e", endpoints);
  const fresh = await newCluster("fresh");
  const data = join(fresh.folder, "node-1");
  const refused = async (args: readonly string[], status: number, said: RegExp) => {
    const ended = await run(args);
    expect([ended.status, ended.stderr]).toEqual([status, expect.stringMatching(said)]);
    expect(existsSync(data)).toBe(false);
  };
  await refused(restoreArgs(file, { ...fresh, clusterId: "old" }, 1), 2, /of cluster old itself/);
  await refused(restoreArgs(file, { ...fresh, members: "2=127.0.0.1:1" }, 1), 2, /but not this node, 1/);
  await refused(restoreArgs(join(old.folder, "none"), fresh, 1), 1, /cannot be read/);

  const damaged = join(old.folder, "damaged");
  const bytes = readFileSync(file);
  bytes.writeUInt8(bytes.readUInt8(20) ^ 1, 20);
  writeFileSync(damaged, bytes);
  await refused(restoreArgs(damaged, fresh, 1), 1, /damaged: /);
  expect((await run(["snapshot", "verify", damaged])).status).toBe(1);
  writeFileSync(damaged, bytes.subarray(0, bytes.length - 1));
  await refused(restoreArgs(damaged, fresh, 1), 1, /no backup, or it was cut off/);

  mkdirSync(data);
  copyFileSync(file, join(data, "something"));
  const full = await run(restoreArgs(file, fresh, 1));
  expect(full).toMatchObject({ status: 1, stderr: expect.stringContaining("is not empty") });
  expect(readdirSync(data)).toEqual(["something"]);
});

test("nobody there to save from: unavailable, and no file", async () => {
  const [port = 0] = await findFreePorts("127.0.0.1", 1);
  const folder = temporaryFolder();
  const nobody = ["-e", `127.0.0.1:${port}`, "--deadline-ms", "500"];
  expect((await run(["snapshot", "save", join(folder, "b"), ...nobody])).status).toBe(4);
  expect(
    (await run(["snapshot", "save", join(folder, "b"), "--from", `127.0.0.1:${port}`, ...nobody])).status,
  ).toBe(4);
  expect(readdirSync(folder)).toEqual([]);
});

test("a save that is interrupted leaves no file", async () => {
  const folder = temporaryFolder();
  // Accepts the call and never says a word.
  const silent = createServer();
  onTestFinished(() => void silent.close());
  const port = await new Promise<number>((resolve) => {
    silent.listen({ host: "127.0.0.1", port: 0 }, () => {
      const address = silent.address();
      resolve(typeof address === "object" && address !== null ? address.port : 0);
    });
  });
  const asked = new Promise<void>((resolve) => {
    silent.once("stream", () => resolve());
  });
  const saving = start(["snapshot", "save", join(folder, "b"), "--from", `127.0.0.1:${port}`]);
  await asked;
  saving.signal("SIGINT");
  expect(await saving.finished).toMatchObject({ status: 1, stderr: expect.stringContaining("no backup") });
  expect(readdirSync(folder)).toEqual([]);
});
