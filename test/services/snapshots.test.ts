// Snapshots of a node as backups, by RaftAdminService over real sockets in both protocols: what is downloaded is the body
// of the file, its checksum is right, and a client that takes it slowly costs the node no memory.

import { connect } from "node:http2";
import { createClient } from "@connectrpc/connect";
import { describe, expect, onTestFinished, test } from "vitest";
import { ConnectDialer } from "../../src/embed/peer-dialer.js";
import { RaftAdminService } from "../../src/gen/service_pb.js";
import { SILENT } from "../../src/node/options.js";
import { adminRoutes } from "../../src/services/admin-service.js";
import { SnapshotDownloads } from "../../src/services/snapshot-download.js";
import { crc32 } from "../../src/storage/checksum.js";
import { listenHttp2 } from "../../src/transport/http2-server.js";
import {
  addressesFor,
  allSay,
  PATIENCE,
  PROTOCOLS,
  type Protocol,
  refusalOf,
  startGroup,
  startWords,
  transportTo,
} from "./nodes.js";

async function download(admin: ReturnType<typeof adminOf>, take: boolean) {
  const chunks: Uint8Array[] = [];
  let size = 0n;
  let info: { index: bigint; checksum: number; sizeBytes: bigint; clusterId: string } | undefined;
  for await (const { part } of admin.downloadSnapshot({ take })) {
    if (part.case === "snapshot") info = part.value;
    if (part.case !== "chunk") continue;
    expect(part.value.offset).toBe(size);
    chunks.push(part.value.data);
    size += BigInt(part.value.data.length);
  }
  return { info, body: Buffer.concat(chunks) };
}

function adminOf(at: Parameters<typeof transportTo>[0], protocol: Protocol) {
  return createClient(RaftAdminService, transportTo(at, protocol));
}

describe.each(PROTOCOLS)("a backup over %s", (protocol) => {
  test("is the state of the asked node, taken now or the newest there is", async () => {
    const { nodes, leader, members } = await startGroup(3);
    const follower = nodes.find((embedded) => embedded !== leader);
    if (follower === undefined) throw new Error("there are three");
    const { index } = await leader.node.propose(Buffer.from("one "));
    await expect.poll(() => follower.stateMachine.appliedIndex, PATIENCE).toBeGreaterThanOrEqual(index);
    const admin = adminOf(follower, protocol);

    // There is none yet: one is made.
    const first = await download(admin, false);
    expect(first.body.toString()).toBe("one ");
    expect(first.info).toMatchObject({ sizeBytes: 4n, checksum: crc32(first.body), clusterId: "services" });
    expect(first.info?.index).toBeGreaterThanOrEqual(index);

    await leader.node.propose(Buffer.from("two"));
    await allSay([follower], "one two");
    expect((await download(admin, false)).body.toString()).toBe("one ");
    const { snapshot } = await admin.takeSnapshot({});
    expect(snapshot?.membership?.members.map(({ id, address }) => ({ id, address }))).toEqual(members);
    const newest = await download(admin, false);
    expect(newest.body.toString()).toBe("one two");
    expect(newest.info).toEqual(snapshot);
    expect((await download(admin, true)).body.toString()).toBe("one two");
    // On the asked node, and on no other.
    expect(leader.node.metrics.counters.snapshotsCreated).toBe(0);
    expect(follower.node.metrics.counters.snapshotsCreated).toBe(3);
  });

  test("is read no faster than it is taken", async () => {
    const { leader } = await startGroup(1);
    await leader.node.propose(Buffer.from("word"));
    const pieces = 256;
    let read = 0;
    const { snapshot, body } = await leader.node.openSnapshot();
    await body.close();
    const chunk = new Uint8Array(256 * 1024);
    const large = { sizeBytes: pieces * chunk.length, close: async () => {} };
    const piece = () => {
      read += 1;
      return chunk;
    };
    // A body of which the test sees every piece that is read.
    const node = new Proxy(leader.node, {
      get: (target, name) => {
        if (name === "openSnapshot") {
          return async () => ({ snapshot, body: { ...large, read: async () => piece() } });
        }
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
    const dialer = new ConnectDialer();
    const listener = await listenHttp2({
      host: "127.0.0.1",
      port: 0,
      routes: adminRoutes({ node, calls: leader.calls, dialer }),
      logger: SILENT,
      shutdownGraceMs: 100,
    });
    onTestFinished(async () => {
      await listener.close();
      await dialer.close();
    });
    // The client of connect-node reads 64 MiB ahead; this one does not.
    const session = connect(`http://127.0.0.1:${listener.address.port}`);
    onTestFinished(() => session.destroy());
    const stream = session.request({
      ":method": "POST",
      ":path": "/raftnode.v1.RaftAdminService/DownloadSnapshot",
      "content-type": protocol === "gRPC" ? "application/grpc+proto" : "application/connect+proto",
    });
    stream.end(Buffer.alloc(5));
    await new Promise((resolve) => stream.once("readable", resolve));
    // Nobody takes more: time enough to read all of it many times over, if anything drove it.
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(read).toBeLessThan(4);
    let bytes = 0;
    for await (const data of stream) bytes += Buffer.byteLength(data);
    expect(bytes).toBeGreaterThan(pieces * chunk.length);
    expect(read).toBe(pieces);
  });
});

test("a node that waits for a cluster has nothing to back up, and says so", async () => {
  const [at] = await addressesFor(1);
  if (at === undefined) throw new Error("one was made");
  await startWords(at);
  const admin = adminOf(at, "Connect");
  const refusals = [await refusalOf(admin.takeSnapshot({})), await refusalOf(download(admin, false))];
  for (const { reason, message } of refusals) {
    expect(reason).toBe("notMember");
    expect(message).toBe("this node waits for a cluster and holds no state yet: ask a member");
  }
});

test("a fifth download at a time is refused, and one that was given up makes room", async () => {
  const { leader } = await startGroup(1);
  await leader.node.propose(Buffer.from("word"));
  const downloads = new SnapshotDownloads(leader.node);
  const { signal } = new AbortController();
  const open = Array.from({ length: 4 }, () => downloads.download(false, signal));
  for (const stream of open) await stream.next();
  await expect(downloads.download(false, signal).next()).rejects.toMatchObject({ code: "inboxFull" });
  await open[0]?.return(undefined);
  const again = downloads.download(false, signal);
  expect((await again.next()).value).toMatchObject({ part: { case: "snapshot" } });
  for (const stream of [...open, again]) await stream.return(undefined);
});

test("what cannot be made is told, and does no harm", async () => {
  const { leader } = await startGroup(1);
  await leader.node.propose(Buffer.from("word"));
  leader.stateMachine.snapshot = async () => {
    throw new Error("the embedder's own words");
  };
  const admin = adminOf(leader, "Connect");
  const refused = await refusalOf(admin.takeSnapshot({}));
  expect(refused.message).toContain("the embedder's own words");
  const { result } = await leader.node.propose(Buffer.from("s"));
  expect(Buffer.from(result).toString()).toBe("words");
});
