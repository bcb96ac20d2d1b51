// Nodes with certificates, end to end: nodes, clients and forwarded calls over mutual TLS, certificates that are
// replaced while a node runs, and the refusal to leave this machine in the clear. Certificates are made by the test.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { describe, expect, onTestFinished, test } from "vitest";
import { ConnectDialer } from "../src/embed/peer-dialer.js";
import { Certificates, requireLoopback, TlsConfigInvalid, type TlsOptions } from "../src/embed/tls.js";
import { type EmbedOptions, embedRaftNode } from "../src/embed.js";
import {
  PlacementCenterService,
  RaftMetricsService,
  SendRaftMessageRequestSchema,
} from "../src/gen/service_pb.js";
import { PlacementClient } from "../src/placement/client.js";
import { freePorts, TestCluster } from "./placement/cluster.js";
import { ManualClock } from "./support/node-clock.js";
import { Words } from "./support/words.js";
import { createAuthority, type Identity } from "./transport/support/certificates.js";
import { RecordingLogger } from "./transport/support/doubles.js";

const authority = createAuthority("the cluster's authority");
const otherAuthority = createAuthority("another authority");

function temporaryFolder(): string {
  const dir = mkdtempSync(join(tmpdir(), "raft-node-tls-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** The files of one node; `write` replaces them. */
function identityFiles(dir: string, identity: Identity) {
  const files = {
    certFile: join(dir, "node.crt"),
    keyFile: join(dir, "node.key"),
    caFile: join(dir, "ca.crt"),
  };
  const write = ({ cert, key, ca }: Partial<Identity>): void => {
    if (cert !== undefined) writeFileSync(files.certFile, cert);
    if (key !== undefined) writeFileSync(files.keyFile, key);
    if (ca !== undefined) writeFileSync(files.caFile, ca);
  };
  write(identity);
  return { files, write };
}

async function embed(options: Partial<EmbedOptions<Words>> = {}) {
  const embedded = await embedRaftNode({
    dataDir: temporaryFolder(),
    id: 1n,
    clusterId: "embedders",
    listen: { host: "127.0.0.1", port: 0 },
    members: [{ id: 1n, address: "127.0.0.1:7001" }],
    stateMachine: async () => new Words(),
    tickIntervalMs: 20,
    ...options,
  });
  onTestFinished(() => embedded.close());
  return embedded;
}

/** Asks a node over a new connection who it is: its cluster's name, or why not. */
async function ask(port: number, tls: Partial<Identity>): Promise<string> {
  const client = new PlacementClient({ endpoints: [`127.0.0.1:${port}`], tls, deadlineMs: 1_000 });
  try {
    return (await client.members()).clusterId;
  } catch (error) {
    return `refused: ${String(error)}`;
  } finally {
    await client.close();
  }
}

describe("a cluster with mutual TLS", () => {
  test("elects, replicates, forwards and answers clients of its authority", async () => {
    const dir = temporaryFolder();
    const { files } = identityFiles(dir, authority.issue("node"));
    const cluster = await TestCluster.start(onTestFinished, 3, {
      overrides: { tls: { ...files, peerNames: ["node"] } },
    });
    const follower = await cluster.follower();
    const client = new PlacementClient({
      endpoints: [cluster.address(follower.node.id)],
      tls: authority.issue("somebody"),
    });
    onTestFinished(() => client.close());
    await client.set("key", "value");
    expect(Buffer.from((await client.get("key"))?.value ?? []).toString()).toBe("value");
    expect(await ask(follower.address.port, { ca: authority.certificate })).toMatch(/^refused/);
    expect(await ask(follower.address.port, otherAuthority.issue("somebody"))).toMatch(/^refused/);
  });

  test("lets clients in by its authority, peers by their name as well", async () => {
    const { files } = identityFiles(temporaryFolder(), authority.issue("node-1"));
    const { address } = await embed({ tls: { ...files, peerNames: ["node-1"] } });
    const speak = async (identity: Identity): Promise<unknown> => {
      const dialer = new ConnectDialer({ tls: () => identity });
      const transport = dialer.dial(`127.0.0.1:${address.port}`);
      try {
        expect((await createClient(RaftMetricsService, transport).members({})).clusterId).toBe("embedders");
        await createClient(PlacementCenterService, transport).sendRaftMessage(
          create(SendRaftMessageRequestSchema),
          { headers: { "raft-cluster-id": "embedders", "raft-from": "2" } },
        );
        return "welcome";
      } catch (error) {
        return ConnectError.from(error).code;
      } finally {
        await dialer.close();
      }
    };
    expect(await speak(authority.issue("node-1"))).toBe("welcome");
    expect(await speak(authority.issue("a-client"))).toBe(Code.PermissionDenied);
  });

  test("serves JSON over HTTPS to those with a certificate, and lets nobody else near its routes", async () => {
    const { files } = identityFiles(temporaryFolder(), authority.issue("node-1"));
    const { httpAddress } = await embed({ tls: files, http: { host: "127.0.0.1", port: 0 } });
    const post = (identity: Partial<Identity>): Promise<number | undefined> =>
      new Promise((resolve, reject) => {
        const call = request(
          `https://127.0.0.1:${httpAddress?.port}/raftnode.v1.RaftMetricsService/Members`,
          { method: "POST", headers: { "content-type": "application/json" }, agent: false, ...identity },
          (response) => {
            response.resume();
            resolve(response.statusCode);
          },
        );
        call.once("error", reject);
        call.end("{}");
      });
    expect(await post(authority.issue("a-client"))).toBe(200);
    expect(await post({ ca: authority.certificate })).toBe(403);
    expect(await post({ ...otherAuthority.issue("a-client"), ca: authority.certificate })).toBe(403);
  });
});

describe("a node with TLS and no authority for its clients", () => {
  test("shows its certificate and asks for none", async () => {
    const { files } = identityFiles(temporaryFolder(), authority.issue("node-1"));
    const { certFile, keyFile } = files;
    const logger = new RecordingLogger();
    const { address } = await embed({ tls: { certFile, keyFile }, logger });
    expect(logger.lines.filter(({ message }) => /may speak as a peer/.test(message))).toHaveLength(1);
    expect(await ask(address.port, { ca: authority.certificate })).toBe("embedders");
    expect(await ask(address.port, { ca: otherAuthority.certificate })).toMatch(/^refused/);
  });
});

describe("certificates that are replaced", () => {
  test("count for every connection from then on, without a restart", async () => {
    const { files, write } = identityFiles(temporaryFolder(), authority.issue("node-1"));
    const embedded = await embed({ tls: files });
    const { port } = embedded.address;
    expect(await ask(port, authority.issue("client"))).toBe("embedders");
    expect(await embedded.reloadTls()).toBe(false);
    write(otherAuthority.issue("node-1"));
    expect(await embedded.reloadTls()).toBe(true);
    expect(await ask(port, otherAuthority.issue("client"))).toBe("embedders");
    expect(await ask(port, authority.issue("client"))).toMatch(/^refused/);
  });

  test("change nothing while only half of them is there, and are taken when the rest is", async () => {
    const { files, write } = identityFiles(temporaryFolder(), authority.issue("node-1"));
    const logger = new RecordingLogger();
    const embedded = await embed({ tls: files, logger });
    const renewed = authority.issue("node-1");
    write({ cert: renewed.cert });
    expect(await embedded.reloadTls()).toBe(false);
    expect(await embedded.reloadTls()).toBe(false);
    expect(logger.lines.filter(({ level }) => level === "error")).toHaveLength(1);
    expect(await ask(embedded.address.port, authority.issue("client"))).toBe("embedders");
    write({ key: renewed.key });
    expect(await embedded.reloadTls()).toBe(true);
    expect(await ask(embedded.address.port, authority.issue("client"))).toBe("embedders");
  });

  test("are noticed by themselves, at the next look", async () => {
    const { files, write } = identityFiles(temporaryFolder(), authority.issue("node-1"));
    const clock = new ManualClock();
    const certificates = await Certificates.load(
      { ...files, reloadIntervalMs: 500 },
      { clock, logger: new RecordingLogger() },
    );
    const renewed = new Promise((resolve) => certificates.onRenewed(({ cert }) => resolve(cert)));
    const next = authority.issue("node-1");
    write(next);
    await clock.advance(500);
    expect(await renewed).toBe(next.cert);
    expect(certificates.current.key).toBe(next.key);
    certificates.close();
    expect(clock.timerCount).toBe(0);
  });

  test("are wanted long before the old ones end: the log and the metrics say when that is", async () => {
    const { files, write } = identityFiles(temporaryFolder(), authority.issue("node-1"));
    const endMs = Date.UTC(2049, 0, 1);
    const dayMs = 86_400_000;
    let dateMs = endMs - 15 * dayMs;
    const logger = new RecordingLogger();
    const clock = new ManualClock();
    const certificates = await Certificates.load(files, { clock, logger, dateMs: () => dateMs });
    onTestFinished(() => certificates.close());
    const told = async (toMs: number): Promise<readonly string[]> => {
      dateMs = toMs;
      logger.lines.length = 0;
      await certificates.reload();
      await certificates.reload();
      return logger.lines.map(({ level, message }) => `${level}: ${message}`);
    };
    expect(certificates.expiry).toEqual({ certificateMs: endMs, authorityMs: endMs });
    expect(await told(endMs - 15 * dayMs)).toEqual([]);
    expect(await told(endMs - 13 * dayMs)).toEqual([
      "warn: the certificate of this node expires soon: replace its file; no restart is needed",
    ]);
    expect(await told(endMs - 12.5 * dayMs)).toEqual([]);
    expect(await told(endMs - 12 * dayMs)).toHaveLength(1);
    expect(await told(endMs + 1)).toEqual([
      "error: the certificate of this node has expired: new connections fail until its file is replaced",
    ]);
    write(authority.issue("node-1"));
    expect(await told(endMs - 60 * dayMs)).toEqual(["info: certificates were renewed"]);

    const embedded = await embed({ tls: files });
    expect(embedded.metrics().certificates).toEqual({ certificateMs: endMs, authorityMs: endMs });
  });

  test("are asked for by a client at every new connection", async () => {
    const { files } = identityFiles(temporaryFolder(), authority.issue("node-1"));
    const { address } = await embed({ tls: files });
    let identity = otherAuthority.issue("client");
    const client = new PlacementClient({
      endpoints: [`127.0.0.1:${address.port}`],
      tls: () => identity,
      deadlineMs: 1_000,
    });
    onTestFinished(() => client.close());
    await expect(client.members()).rejects.toThrow();
    identity = authority.issue("client");
    expect((await client.members({ deadlineMs: 10_000 })).clusterId).toBe("embedders");
  });
});

describe("what stands in the way is a sentence", () => {
  const pair = (change: Partial<TlsOptions> = {}, identity: Partial<Identity> = {}): TlsOptions => ({
    ...identityFiles(temporaryFolder(), { ...authority.issue("node-1"), ...identity }).files,
    ...change,
  });

  test.each([
    [
      "a file that is not there",
      () => pair({ keyFile: "nowhere.key" }),
      /key cannot be read: ENOENT.*nowhere/,
    ],
    ["a key of another certificate", () => pair({}, { key: authority.issue("node-1").key }), /private key/],
    ["a certificate that is none", () => pair({}, { cert: "hello" }), /no PEM certificate/],
    ["authorities that are none", () => pair({}, { ca: "hello" }), /ca\.crt: no PEM certificate/],
    ["names without an authority", () => ({ ...pair({ peerNames: ["a"] }), caFile: undefined }), /--tls-ca/],
    ["an empty list of names", () => pair({ peerNames: [] }), /is empty/],
  ])("%s", async (_, tls, message) => {
    const refused = embed({ tls: tls() });
    await expect(refused).rejects.toThrow(TlsConfigInvalid);
    await expect(refused).rejects.toThrow(message);
  });

  test("a client's certificate without its key", () => {
    const { cert, ca } = authority.issue("client");
    expect(() => new PlacementClient({ endpoints: ["127.0.0.1:7001"], tls: { cert, ca } })).toThrow(
      "a client's certificate needs its key",
    );
  });

  test("a warning is enough for a node that is not on its own list", async () => {
    const logger = new RecordingLogger();
    await embed({ tls: pair({ peerNames: ["node-2"] }), logger });
    expect(logger.lines.filter(({ message }) => /refuse it/.test(message))).toHaveLength(1);
  });
});

describe("without TLS", () => {
  test("a node that is reached from other machines does not start, unless that is wanted", async () => {
    const [port = 0] = await freePorts(1);
    const everywhere = { listen: { host: "0.0.0.0", port } };
    await expect(embed(everywhere)).rejects.toThrow(
      new RegExp(
        `^listen 0\\.0\\.0\\.0:${port} is reached from other machines.*--tls-cert.*--insecure-peers`,
      ),
    );
    await expect(embed({ http: { host: "::", port: 0 } })).rejects.toThrow(/^http \[::\]:0 is reached/);
    await expect(embed({ advertise: "node-1.example:7001" })).rejects.toThrow(
      /^advertise node-1\.example:7001/,
    );
    await expect(embed({ members: [{ id: 1n, address: "10.0.0.1:7001" }] })).rejects.toThrow(
      /^advertise 10\.0\.0\.1/,
    );
    const embedded = await embed({ ...everywhere, insecurePeers: true });
    expect(embedded.address.port).toBe(port);
    expect(await embedded.reloadTls()).toBe(false);
  });

  test("this machine's own addresses are those of the loopback", () => {
    const judge = (host: string): boolean => {
      try {
        requireLoopback({ listen: { host, port: 1 } });
        return true;
      } catch {
        return false;
      }
    };
    expect(
      ["127.0.0.1", "127.9.9.9", "localhost", "::1", "::ffff:127.0.0.1"].filter((host) => !judge(host)),
    ).toEqual([]);
    expect(
      ["0.0.0.0", "::", "10.0.0.1", "128.0.0.1", "127.0.0.1.example", "localhost.example", "fe80::1"].filter(
        judge,
      ),
    ).toEqual([]);
  });
});
