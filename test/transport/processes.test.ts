// A peer in a process of its own that is killed, stopped and continued: what the sender makes of it, and that
// messages flow again as soon as they can.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface, type Interface } from "node:readline";
import { afterEach, describe, expect, it } from "vitest";
import { append } from "./support/doubles.js";
import { startTestNode, type TestNode } from "./support/pair.js";

const cleanups: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Peer {
  readonly process: ChildProcess;
  readonly lines: Interface;
  readonly port: number;
}

async function startPeer(port = 0): Promise<Peer> {
  const script = new URL("./support/peer-process.mjs", import.meta.url).pathname;
  const child = spawn(process.execPath, [script, String(port)], { stdio: ["ignore", "pipe", "inherit"] });
  cleanups.push(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  });
  const lines = createInterface({ input: child.stdout });
  const [first]: string[] = await once(lines, "line");
  return { process: child, lines, port: Number(first?.replace("port ", "")) };
}

async function startSender(patienceMs: number): Promise<TestNode> {
  const patience = { connectTimeoutMs: patienceMs, pingIntervalMs: patienceMs, pingTimeoutMs: patienceMs };
  const limits = {
    ...patience,
    backoffMinMs: 5,
    backoffMaxMs: 20,
    envelopeDeadlineMs: 20_000,
    closeGraceMs: 50,
  };
  const node = await startTestNode({ id: 1n, limits });
  cleanups.push(() => node.close());
  return node;
}

/** Sends an append every few milliseconds until the peer says that it took one of them. */
async function sendUntilTaken(node: TestNode, peer: Peer): Promise<void> {
  let isTaken = false;
  const taken = once(peer.lines, "line").then(() => {
    isTaken = true;
  });
  for (let index = 1n; !isTaken; index += 1n) {
    node.transport.send([append(1n, 2n, index)]);
    await Promise.race([taken, new Promise((resolve) => setTimeout(resolve, 5))]);
  }
}

/** Keeps sending until the runtime has been told that the peer is unreachable; answers with the classes seen. */
async function sendUntilUnreachable(node: TestNode): Promise<string[]> {
  const before = node.inbox.unreachable.length;
  for (let index = 1_000n; node.inbox.unreachable.length === before; index += 1n) {
    node.transport.send([append(1n, 2n, index)]);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return Object.keys(node.transport.metrics().peers[0]?.failures ?? {});
}

describe("a peer in another process", () => {
  it("that is killed is unreachable at once, and reached again when it is started again", async () => {
    const node = await startSender(20_000);
    const peer = await startPeer();
    node.transport.setMembers(new Map([[2n, `127.0.0.1:${peer.port}`]]));
    await sendUntilTaken(node, peer);
    peer.process.kill("SIGKILL");
    for (const failure of await sendUntilUnreachable(node)) {
      expect(["killed", "reset", "refused"]).toContain(failure);
    }
    await sendUntilTaken(node, await startPeer(peer.port));
  });

  it("that is stopped counts as frozen, also for new connections, and is reached again when it continues", async () => {
    const node = await startSender(250);
    const peer = await startPeer();
    node.transport.setMembers(new Map([[2n, `127.0.0.1:${peer.port}`]]));
    await sendUntilTaken(node, peer);
    peer.process.kill("SIGSTOP");
    expect(await sendUntilUnreachable(node)).toEqual(["frozen"]);
    // The kernel accepts connections for a stopped process; that alone must not count as reached.
    expect(await sendUntilUnreachable(node)).toEqual(["frozen"]);
    expect(node.transport.metrics().peers[0]?.connected).toBe(false);
    peer.process.kill("SIGCONT");
    await sendUntilTaken(node, peer);
  });
});
