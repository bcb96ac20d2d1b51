// Embedded nodes for tests of the services: real LMDB, real HTTP/2 on ports of this machine, and a state machine of a few
// lines. Clients of both protocols.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ConnectError, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { expect, onTestFinished } from "vitest";
import { type EmbeddedNode, type EmbedOptions, embedRaftNode } from "../../src/embed.js";
import type { StateMachine } from "../../src/node/ports.js";
import { formatAddress } from "../../src/services/address.js";
import { errorDetail } from "../../src/services/connect-errors.js";
import { freePorts } from "../placement/cluster.js";
import { Words } from "../support/words.js";

export const TICK_MS = 30;
/** For `expect.poll`. */
export const PATIENCE = { timeout: 15_000 };

export interface TestAddress {
  readonly id: bigint;
  readonly address: string;
}

/** Addresses for nodes 1 to `count`. */
export async function addressesFor(count: number): Promise<TestAddress[]> {
  const ports = await freePorts(count);
  return ports.map((port, at) => ({ id: BigInt(at + 1), address: `127.0.0.1:${port}` }));
}

export function temporaryFolder(): string {
  const dir = mkdtempSync(join(tmpdir(), "raft-node-services-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** A node at an address; closed with the test. Without members it waits. */
export async function startNode<M extends StateMachine = Words>(
  { id, address }: TestAddress,
  options: Partial<EmbedOptions<M>> & { readonly stateMachine: EmbedOptions<M>["stateMachine"] },
): Promise<EmbeddedNode<M>> {
  const [host = "", port = ""] = address.split(":");
  const dataDir = options.dataDir ?? temporaryFolder();
  const embedded = await embedRaftNode({
    dataDir,
    id,
    clusterId: "services",
    listen: { host, port: Number(port) },
    tickIntervalMs: TICK_MS,
    ...options,
  });
  onTestFinished(() => embedded.close());
  return embedded;
}

export function startWords(at: TestAddress, options: Partial<EmbedOptions<Words>> = {}) {
  return startNode<Words>(at, { stateMachine: async () => new Words(), ...options });
}

/** Members 1 to `count` of a new cluster. */
export async function startGroup(count: number, spare = 0) {
  const addresses = await addressesFor(count + spare);
  const members = addresses.slice(0, count);
  const nodes = await Promise.all(members.map((at) => startWords(at, { members })));
  const leader = await leaderOf(nodes);
  return { addresses, members, nodes, leader };
}

/** The one that leads, once all know it. */
export async function leaderOf(nodes: readonly EmbeddedNode<Words>[]): Promise<EmbeddedNode<Words>> {
  for (;;) {
    const known = await Promise.all(nodes.map(({ node }) => node.leaderKnown({ deadlineMs: 15_000 })));
    const leader = nodes.find(({ node }) => node.id === known[0] && node.isLeader);
    if (leader !== undefined && known.every((id) => id === known[0])) return leader;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

export const PROTOCOLS = ["Connect", "gRPC"] as const;
export type Protocol = (typeof PROTOCOLS)[number];

export function transportTo(
  at: TestAddress | EmbeddedNode<StateMachine>,
  protocol: Protocol = "Connect",
): Transport {
  const address = typeof at.address === "string" ? at.address : formatAddress(at.address);
  const baseUrl = `http://${address}`;
  return protocol === "Connect"
    ? createConnectTransport({ baseUrl, httpVersion: "2" })
    : createGrpcTransport({ baseUrl });
}

/** The reason that a call was refused with, and the message. */
export async function refusalOf(call: Promise<unknown>): Promise<{ reason: string; message: string }> {
  const error = await errorOf(call);
  return { reason: errorDetail(error)?.reason ?? "", message: error.rawMessage };
}

export async function errorOf(call: Promise<unknown>): Promise<ConnectError> {
  try {
    await call;
  } catch (error) {
    if (error instanceof ConnectError) return error;
    throw error;
  }
  throw new Error("the call succeeded");
}

/** Until the state machines of all these nodes say so, however busy this machine is. */
export async function allSay(nodes: readonly EmbeddedNode<Words>[], text: string): Promise<void> {
  await expect
    .poll(() => nodes.map(({ stateMachine }) => stateMachine.text), PATIENCE)
    .toEqual(nodes.map(() => text));
}
