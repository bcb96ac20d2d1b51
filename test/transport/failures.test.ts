// Every row of the table in transport-errors.ts, brought about on real sockets: how it is classified, that the
// runtime hears of it, that nothing grows without bound meanwhile, and that delivery goes on afterwards.

import { createServer, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { type Message, MessageType } from "../../src/gen/eraftpb_pb.js";
import { RaftNodeError } from "../../src/node/errors.js";
import type { TransportLimits } from "../../src/transport/limits.js";
import { append, heartbeat } from "./support/doubles.js";
import { startTestNode, type TestNode, type TestNodeOptions } from "./support/pair.js";
import { rawServer, unusedPort, wireTo } from "./support/sockets.js";

// Waits that only a fault may end are far longer than any test, so that a busy machine changes nothing.
const LIMITS: Partial<TransportLimits> = {
  connectTimeoutMs: 20_000,
  pingIntervalMs: 20_000,
  pingTimeoutMs: 20_000,
  backoffMinMs: 5,
  backoffMaxMs: 10,
  envelopeDeadlineMs: 20_000,
  closeGraceMs: 50,
};
const IMPATIENT: Partial<TransportLimits> = { connectTimeoutMs: 100, pingIntervalMs: 40, pingTimeoutMs: 60 };

const cleanups: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start(options: TestNodeOptions): Promise<TestNode> {
  const node = await startTestNode({ ...options, limits: { ...LIMITS, ...options.limits } });
  cleanups.push(() => node.close());
  return node;
}

function pointAt(node: TestNode, port: number): void {
  node.transport.setMembers(new Map([[2n, `127.0.0.1:${port}`]]));
}

/** Sends one append and waits until the runtime is told that the peer is unreachable; answers with the class. */
async function classAfterSending(node: TestNode, message: Message = append(1n, 2n, 1n)): Promise<string[]> {
  const before = node.inbox.unreachable.length;
  node.transport.send([message]);
  await node.inbox.until((inbox) => inbox.unreachable.length > before);
  return Object.keys(node.transport.metrics().peers[0]?.failures ?? {});
}

/** Repeats an append until the peer has it, as Raft does. */
async function sendUntilTaken(from: TestNode, to: TestNode, index: bigint): Promise<void> {
  while (to.inbox.stepped.every((message) => message.index !== index)) {
    from.transport.send([append(from.id, to.id, index)]);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** An HTTP/2 server that treats each call as told. */
async function serverThat(treat: (stream: ServerHttp2Stream) => void): Promise<number> {
  const server = createServer();
  const sessions = new Set<{ destroy(): void }>();
  server.on("session", (session) => {
    sessions.add(session);
    session.on("error", () => {});
  });
  server.on("stream", (stream) => {
    stream.on("error", () => {});
    treat(stream);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanups.push(async () => {
    for (const session of sessions) session.destroy();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  });
  return (server.address() as AddressInfo).port;
}

describe("a failed envelope is classified and reported", () => {
  it("refused: nobody listens", async () => {
    const one = await start({ id: 1n });
    pointAt(one, await unusedPort());
    expect(await classAfterSending(one)).toEqual(["refused"]);
  });

  it("refused: the name cannot be resolved", async () => {
    const one = await start({ id: 1n });
    one.transport.setMembers(new Map([[2n, "no-such-host.invalid:4000"]]));
    expect(await classAfterSending(one)).toEqual(["refused"]);
  });

  it("killed: the peer dies while the call is open", async () => {
    const one = await start({ id: 1n });
    pointAt(one, await serverThat((stream) => stream.session?.destroy()));
    expect(await classAfterSending(one)).toEqual(["killed"]);
  });

  it("reset: the connection is reset under the call", async () => {
    const one = await start({ id: 1n });
    const wire = await wireTo(await serverThat(() => wire.cut()));
    cleanups.push(() => wire.close());
    pointAt(one, wire.port);
    const [failure] = await classAfterSending(one);
    // A reset that the kernel delivers as an end of the stream is a kill.
    expect(["reset", "killed"]).toContain(failure);
  });

  it("reset: the peer resets the stream", async () => {
    const one = await start({ id: 1n });
    pointAt(one, await serverThat((stream) => stream.close(2)));
    expect(await classAfterSending(one)).toEqual(["reset"]);
  });

  it("closing: the peer refuses the stream, once more on repetition", async () => {
    const one = await start({ id: 1n });
    let calls = 0;
    pointAt(
      one,
      await serverThat((stream) => {
        calls += 1;
        stream.close(7);
      }),
    );
    expect(await classAfterSending(one)).toEqual(["closing"]);
    expect(calls).toBe(2);
  });

  it("frozen: TCP is accepted, and nothing ever answers", async () => {
    const one = await start({ id: 1n, limits: IMPATIENT });
    const frozen = await rawServer();
    cleanups.push(() => frozen.close());
    pointAt(one, frozen.port);
    expect(await classAfterSending(one)).toEqual(["frozen"]);
  });

  it("frozen: the peer stops in the middle of a call; delivery resumes when it thaws", async () => {
    const one = await start({ id: 1n, limits: IMPATIENT });
    const two = await start({ id: 2n });
    const wire = await wireTo(two.listener.address.port);
    cleanups.push(() => wire.close());
    pointAt(one, wire.port);
    await sendUntilTaken(one, two, 1n);
    wire.freeze();
    expect(await classAfterSending(one)).toEqual(["frozen"]);
    wire.thaw();
    await sendUntilTaken(one, two, 2n);
    expect(one.transport.metrics().peers[0]?.connected).toBe(true);
  });

  it("frozen: the connection is half open, the peer's machine lost its power; its successor gets a new one", async () => {
    const one = await start({ id: 1n, limits: IMPATIENT });
    const two = await start({ id: 2n });
    const wire = await wireTo(two.listener.address.port);
    cleanups.push(() => wire.close());
    pointAt(one, wire.port);
    await sendUntilTaken(one, two, 1n);
    const before = wire.accepted();
    wire.loseFarEnds();
    expect(await classAfterSending(one)).toEqual(["frozen"]);
    await sendUntilTaken(one, two, 2n);
    expect(wire.accepted()).toBeGreaterThan(before);
  });

  it("deadline: the peer takes an envelope in too slowly, and what comes behind it is not affected", async () => {
    const one = await start({ id: 1n, limits: { envelopeDeadlineMs: 100 } });
    let reads = false;
    const port = await serverThat((stream) => {
      if (reads) stream.resume().on("end", () => stream.respond({ ":status": 200 }, { endStream: true }));
      else stream.pause();
    });
    pointAt(one, port);
    expect(await classAfterSending(one, append(1n, 2n, 1n, 1_000_000))).toEqual(["deadline"]);
    expect(one.transport.metrics().peers[0]).toMatchObject({ connected: true, queuedBytes: 0 });
    reads = true;
    const taken = () => one.transport.metrics().peers[0]?.sendRaftMessage.messages ?? 0;
    while (taken() === 0) {
      one.transport.send([append(1n, 2n, 2n)]);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  });

  it("deadline: the peer is alive but does not answer", async () => {
    const one = await start({ id: 1n, limits: { envelopeDeadlineMs: 50 } });
    pointAt(one, await serverThat((stream) => stream.resume()));
    expect(await classAfterSending(one)).toEqual(["deadline"]);
    expect(one.transport.metrics().peers[0]?.connected).toBe(true);
  });

  it("tooLarge: the message exceeds this node's own limit", async () => {
    const small = { maxMessageBytes: 10_000, maxEnvelopeBytes: 5_000 };
    const one = await start({ id: 1n, limits: small });
    const two = await start({ id: 2n });
    pointAt(one, two.listener.address.port);
    expect(await classAfterSending(one, append(1n, 2n, 1n, 20_000))).toEqual(["tooLarge"]);
    expect(one.transport.metrics().peers[0]?.lastError).toMatch(/maxMessageBytes/);
    one.transport.send([append(1n, 2n, 2n, 100)]);
    await two.inbox.until((inbox) => inbox.stepped.length === 1);
  });

  it("tooLarge: the message exceeds the peer's limit", async () => {
    const one = await start({ id: 1n });
    const two = await start({ id: 2n, limits: { maxMessageBytes: 10_000, maxEnvelopeBytes: 5_000 } });
    pointAt(one, two.listener.address.port);
    for (const bytes of [20_000, 200_000]) {
      expect(await classAfterSending(one, append(1n, 2n, 1n, bytes))).toEqual(["tooLarge"]);
    }
    expect(two.inbox.stepped).toEqual([]);
  });

  it("busy: the peer's inbox is full", async () => {
    const one = await start({ id: 1n });
    const two = await start({ id: 2n });
    two.inbox.refusal = new RaftNodeError("inboxFull", "1000 messages wait");
    pointAt(one, two.listener.address.port);
    expect(await classAfterSending(one)).toEqual(["busy"]);
    two.inbox.refusal = undefined;
    one.transport.send([append(1n, 2n, 1n)]);
    await two.inbox.until((inbox) => inbox.stepped.length === 1);
  });

  it("rejected: the peer belongs to another cluster, and says so", async () => {
    const one = await start({ id: 1n, clusterId: "blue" });
    const two = await start({ id: 2n, clusterId: "green" });
    pointAt(one, two.listener.address.port);
    expect(await classAfterSending(one)).toEqual(["rejected"]);
    expect(one.transport.metrics().peers[0]?.lastError).toMatch(/cluster "green".*"blue"/);
  });

  it("rejected: something else listens there", async () => {
    const one = await start({ id: 1n });
    pointAt(
      one,
      await serverThat((stream) => {
        stream.respond({ ":status": 404, "content-type": "text/html" });
        stream.end("<h1>Not found</h1>");
      }),
    );
    expect(await classAfterSending(one)).toEqual(["rejected"]);
    expect(one.transport.metrics().peers[0]?.lastError).toMatch(/HTTP 404/);
  });
});

describe("while a peer does not answer", () => {
  it("holds back no more than the limit, and reports what it drops", async () => {
    const one = await start({ id: 1n, limits: { maxQueuedAppendBytes: 50_000 } });
    const frozen = await rawServer();
    cleanups.push(() => frozen.close());
    pointAt(one, frozen.port);
    for (let index = 0n; index < 1_000n; index += 1n) one.transport.send([append(1n, 2n, index, 1_000)]);
    const [stats] = one.transport.metrics().peers;
    expect(stats?.queuedBytes).toBeGreaterThan(40_000);
    expect(stats?.queuedBytes).toBeLessThanOrEqual(50_000);
    expect(stats?.droppedMessages).toBeGreaterThan(900);
    await one.inbox.until((inbox) => inbox.unreachable.length > 0);
  });

  it("keeps only the newest heartbeats, and drops the oldest of other control messages", async () => {
    const limits = { maxQueuedHeartbeats: 3, maxQueuedControlMessages: 10 };
    const one = await start({ id: 1n, limits });
    const two = await start({ id: 2n });
    const wire = await wireTo(two.listener.address.port);
    cleanups.push(() => wire.close());
    wire.freeze();
    pointAt(one, wire.port);
    one.transport.send([heartbeat(1n, 2n, 0n)]);
    for (let commit = 1n; commit <= 20n; commit += 1n) one.transport.send([heartbeat(1n, 2n, commit)]);
    for (let index = 1n; index <= 20n; index += 1n) {
      one.transport.send([{ ...append(1n, 2n, index), msgType: MessageType.MsgAppendResponse, entries: [] }]);
    }
    const [stats] = one.transport.metrics().peers;
    expect(stats?.queued).toBe(10);
    expect(stats?.lostHeartbeats).toBe(17);
    wire.thaw();
    await two.inbox.until((inbox) => inbox.stepped.length === 11);
    const answers = two.inbox.stepped.filter((message) => message.msgType === MessageType.MsgAppendResponse);
    expect(answers.map((message) => message.index)).toEqual([
      11n,
      12n,
      13n,
      14n,
      15n,
      16n,
      17n,
      18n,
      19n,
      20n,
    ]);
  });

  it("drops the appends behind a failed one, but not what was forwarded for others", async () => {
    const one = await start({ id: 1n });
    let calls = 0;
    const port = await serverThat((stream) => {
      calls += 1;
      if (calls === 1) setTimeout(() => stream.close(2), 20);
      else stream.respond({ ":status": 200 }, { endStream: true });
    });
    pointAt(one, port);
    one.transport.send([append(1n, 2n, 1n)]);
    const proposal: Message = { ...append(1n, 2n, 9n), msgType: MessageType.MsgPropose, term: 0n };
    one.transport.send([append(1n, 2n, 2n), proposal, append(1n, 2n, 3n)]);
    await one.inbox.until((inbox) => inbox.unreachable.length === 1);
    while (one.transport.metrics().peers[0]?.sendRaftMessage.messages !== 1)
      await new Promise((resolve) => setTimeout(resolve, 1));
    expect(one.transport.metrics().peers[0]).toMatchObject({
      droppedMessages: 2,
      sendRaftMessage: { calls: 2, messages: 1, failures: { reset: 1 } },
    });
  });

  it("logs the first failure of a kind and then counts", async () => {
    const one = await start({ id: 1n, limits: { logIntervalMs: 60_000 } });
    pointAt(one, await unusedPort());
    for (let round = 0; round < 20; round += 1) await classAfterSending(one);
    expect(one.logger.count("warn", "could not reach a peer")).toBe(1);
    expect(one.transport.metrics().peers[0]?.failures.refused).toBe(20);
  });

  it("closes within its grace", async () => {
    const one = await start({ id: 1n });
    const frozen = await rawServer();
    cleanups.push(() => frozen.close());
    pointAt(one, frozen.port);
    one.transport.send([append(1n, 2n, 1n), heartbeat(1n, 2n)]);
    await one.transport.close();
    expect(one.transport.metrics().peers).toEqual([]);
  });

  it("reports a peer without an address, and a message to itself changes nothing", async () => {
    const one = await start({ id: 1n });
    one.transport.send([append(1n, 9n, 1n), append(1n, 1n, 1n)]);
    await one.inbox.until((inbox) => inbox.unreachable.length > 0);
    expect(one.inbox.unreachable).toEqual([9n]);
  });
});
