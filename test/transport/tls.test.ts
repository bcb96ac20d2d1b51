// Mutual TLS between peers: who gets in, whom an allow-list keeps out, and certificates that are renewed while the
// node runs.

import { connect } from "node:http2";
import { connect as connectTls } from "node:tls";
import { Code, ConnectError } from "@connectrpc/connect";
import { afterEach, describe, expect, it } from "vitest";
import { judgeConnection } from "../../src/transport/admission.js";
import { createAuthority, type Identity } from "./support/certificates.js";
import { append, snapshotMessage } from "./support/doubles.js";
import { introduce, startTestNode, type TestNode, type TestNodeOptions } from "./support/pair.js";

const authority = createAuthority("test authority");
const otherAuthority = createAuthority("another authority");
const cleanups: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start(options: TestNodeOptions): Promise<TestNode> {
  const node = await startTestNode({
    ...options,
    limits: { backoffMinMs: 5, backoffMaxMs: 10, closeGraceMs: 50 },
  });
  cleanups.push(() => node.close());
  return node;
}

async function failureOfSending(from: TestNode): Promise<string | undefined> {
  from.transport.send([append(from.id, 2n, 1n)]);
  await from.inbox.until((inbox) => inbox.unreachable.length > 0);
  return from.transport.metrics().peers[0]?.lastError;
}

describe("mutual TLS", () => {
  it("carries messages and snapshots between nodes of one authority", async () => {
    const one = await start({ id: 1n, identity: () => authority.issue("node-1") });
    const two = await start({
      id: 2n,
      identity: () => authority.issue("node-2"),
      allowedPeerNames: ["node-1"],
    });
    introduce(one, two);
    one.snapshots.bodies.set("s-1", new Uint8Array(300_000));
    one.transport.send([append(1n, 2n, 1n), snapshotMessage(1n, 2n, "s-1", 300_000)]);
    await two.inbox.until((inbox) => inbox.stepped.length === 2);
  });

  it("refuses a peer whose name is not on the list, and says which name it has", async () => {
    const one = await start({ id: 1n, identity: () => authority.issue("node-9") });
    const two = await start({
      id: 2n,
      identity: () => authority.issue("node-2"),
      allowedPeerNames: ["node-1"],
    });
    introduce(one, two);
    expect(await failureOfSending(one)).toMatch(/allowed names; this one holds "node-9"/);
    expect(two.inbox.stepped).toEqual([]);
  });

  it("refuses a peer of another authority, and one without a certificate", async () => {
    const two = await start({ id: 2n, identity: () => authority.issue("node-2") });
    const stranger = await start({
      id: 1n,
      identity: () => ({ ...otherAuthority.issue("node-1"), ca: authority.certificate }),
    });
    introduce(stranger, two);
    expect(await failureOfSending(stranger)).toMatch(/unknown ca|certificate/i);
    const nameless = connectTls({
      host: "127.0.0.1",
      port: two.listener.address.port,
      ca: authority.certificate,
      ALPNProtocols: ["h2"],
    });
    expect(await new Promise((resolve) => nameless.once("error", (error) => resolve(error.message)))).toMatch(
      /certificate required/,
    );
    expect(two.inbox.stepped).toEqual([]);
  });

  it("refuses to talk to a peer that it cannot verify", async () => {
    const one = await start({ id: 1n, identity: () => authority.issue("node-1") });
    const two = await start({ id: 2n, identity: () => otherAuthority.issue("node-2") });
    introduce(one, two);
    expect(await failureOfSending(one)).toMatch(/verify|certificate/);
    expect(one.transport.metrics().peers[0]?.failures).toEqual({ refused: 1 });
  });

  it("uses renewed certificates without a restart, on both sides", async () => {
    let current = otherAuthority;
    const one = await start({ id: 1n, identity: () => current.issue("node-1") });
    const two = await start({ id: 2n, identity: () => authority.issue("node-2") });
    introduce(one, two);
    expect(await failureOfSending(one)).toBeDefined();
    current = authority;
    while (two.inbox.stepped.length === 0) {
      one.transport.send([append(1n, 2n, 1n)]);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    two.listener.reloadTls({
      ...otherAuthority.issue("node-2"),
      requestCert: true,
      rejectUnauthorized: true,
    });
    current = otherAuthority;
    const three = await start({ id: 3n, identity: () => current.issue("node-3") });
    three.transport.setMembers(new Map([[2n, two.address]]));
    three.transport.send([append(3n, 2n, 7n)]);
    await two.inbox.until((inbox) => inbox.stepped.some((message) => message.from === 3n));
  });

  it("says in words what two sides that do not fit together failed of", async () => {
    const secured = await start({ id: 2n, identity: () => authority.issue("node-2") });
    const plain = await start({ id: 2n });
    const failure = async (to: TestNode, identity?: () => Identity): Promise<string | undefined> => {
      const from = await start({ id: 1n, ...(identity === undefined ? {} : { identity }) });
      from.transport.setMembers(new Map([[2n, to.address]]));
      return failureOfSending(from);
    };
    expect(await failure(secured)).toMatch(/is it a --listen address, and does it want TLS\?/);
    expect(await failure(plain, () => authority.issue("node-1"))).toMatch(/does not speak TLS: all nodes/);
    expect(await failure(secured, () => otherAuthority.issue("node-1"))).toMatch(
      /signed by an authority that is not among those trusted here/,
    );
    expect(
      await failure(secured, () => ({ ...otherAuthority.issue("node-1"), ca: authority.certificate })),
    ).toMatch(/does it trust this certificate\?|does not know the authority/);
  });

  it("lives on after a client that speaks no TLS", async () => {
    const two = await start({ id: 2n, identity: () => authority.issue("node-2") });
    const session = connect(`http://${two.address}`);
    const ended = new Promise((resolve) => session.once("close", resolve));
    session.on("error", () => {});
    await ended;
    const one = await start({ id: 1n, identity: () => authority.issue("node-1") });
    introduce(one, two);
    one.transport.send([append(1n, 2n, 1n)]);
    await two.inbox.until((inbox) => inbox.stepped.length === 1);
  });
});

describe("without TLS", () => {
  it("peers on this machine are welcome, peers elsewhere only if that is allowed", async () => {
    const one = await start({ id: 1n });
    const two = await start({ id: 2n, requireTlsOffLoopback: true });
    introduce(one, two);
    one.transport.send([append(1n, 2n, 1n)]);
    await two.inbox.until((inbox) => inbox.stepped.length === 1);

    const judge = (remoteAddress: string, isEncrypted: boolean, requireTlsOffLoopback: boolean): unknown => {
      try {
        const connection = { remoteAddress, isEncrypted, isCertified: false, certificateNames: [] };
        judgeConnection(connection, { requireTlsOffLoopback });
        return "welcome";
      } catch (error) {
        return ConnectError.from(error).code;
      }
    };
    for (const local of ["127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"]) {
      expect(judge(local, false, true)).toBe("welcome");
    }
    for (const remote of ["10.0.0.7", "::ffff:10.0.0.7", "fe80::1", ""]) {
      expect(judge(remote, false, true)).toBe(Code.PermissionDenied);
      expect(judge(remote, true, true)).toBe("welcome");
      expect(judge(remote, false, false)).toBe("welcome");
    }
  });

  it("an allow-list of names lets nobody in", async () => {
    const one = await start({ id: 1n });
    const two = await start({ id: 2n, allowedPeerNames: ["node-1"] });
    introduce(one, two);
    expect(await failureOfSending(one)).toMatch(/none was presented/);
  });
});
