// How a node of the placement center is configured: typed, with every text that people type parsed in one place.

import type { NodeId } from "../core/types.js";
import type { AccessOptions } from "../embed/access.js";
import type { TlsOptions } from "../embed/tls.js";
import type { Logger } from "../node/ports.js";
import type { CompactionOptions } from "../node/snapshotting.js";
import { formatAddress, type HostAndPort, splitAddress } from "../services/address.js";
import type { Forwarding } from "../services/leader-calls.js";
import type { SpaceLimits } from "../storage/space-guard.js";
import { DEFAULT_HISTORY_LIMITS } from "./kv/kv-history.js";

/** A configuration that must not run; the message says which value is wrong and what would be right. */
export class PlacementConfigInvalid extends Error {
  override readonly name = "PlacementConfigInvalid";
}

export interface PlacementLimits {
  /** Bytes; a larger value is refused with ResourceExhausted. Default 1 MiB; at most 8 MiB. */
  readonly maxValueBytes: number;
  /** For clients that name no deadline. Default 5,000. */
  readonly defaultDeadlineMs: number;
  /** Recent changes kept in memory for watches and for ranges of an earlier revision. Default 100,000. */
  readonly historyRevisions: number;
  /** Their approximate memory in bytes, at most. Default 32 MiB; at most 4 GiB. */
  readonly historyBytes: number;
}

export interface PlacementConfig {
  /** 1 or higher, unique in the cluster, for ever: a removed node's id is not used again. */
  readonly id: NodeId;
  /** Nodes of other clusters are refused. 1 to 64 letters, digits, `.`, `_`, `-`. */
  readonly clusterId: string;
  /** Made if it does not exist. Belongs to this node alone. */
  readonly dataDir: string;
  /** `host:port` for peers and clients (HTTP/2). Port 0: choose one. */
  readonly listen: string;
  /** Where others reach `listen`. Default: the node's own entry in `members`, else `listen`. */
  readonly advertise?: string | undefined;
  /** `host:port` for HTTP/1.1: JSON for curl. Default: none. */
  readonly http?: string | undefined;
  /**
   * The members of a new cluster, this node among them; the same on each. Only looked at while the data folder is
   * blank. Absent or empty: this node waits until it is added to a cluster.
   */
  readonly members?: ReadonlyMap<NodeId, string> | undefined;
  /**
   * Certificates, for both listeners and for the connections to other nodes: all nodes of a cluster have TLS, or none.
   * Default: none, and then `listen`, `http` and `advertise` must stay on this machine.
   */
  readonly tls?: TlsOptions | undefined;
  /**
   * Without TLS, let peers and clients on other machines in: the network between them is trusted. Without tokens,
   * whoever is on it may do everything. Default false.
   */
  readonly insecurePeers?: boolean | undefined;
  /** Who may do what. Default: who calls from this machine, or with a verified certificate, may do everything. */
  readonly access?: AccessOptions | undefined;
  /** Milliseconds of one tick: 10 without a leader start an election. Default 100. */
  readonly tickIntervalMs?: number | undefined;
  /** Whether the leader may answer reads with consistency `leaderLease` by its lease; the same on all nodes. Default no. */
  readonly leaseReads?: boolean | undefined;
  /** What a node that does not lead does with writes and linearizable reads. Default `forward`. */
  readonly forwarding?: Forwarding | undefined;
  readonly limits?: Partial<PlacementLimits> | undefined;
  /** When the log is cut, and how much of it stays for nodes that are a little behind. Default 10,000 and 5,000. */
  readonly compaction?: Partial<CompactionOptions> | undefined;
  /** How much room the log may take, and how much must stay free on the disk: beyond, writes are refused. */
  readonly space?: Partial<SpaceLimits> | undefined;
  readonly logger?: Logger | undefined;
}

export interface CheckedPlacementConfig extends Omit<PlacementConfig, "listen" | "http" | "limits"> {
  readonly listen: HostAndPort;
  readonly http: HostAndPort | undefined;
  readonly limits: PlacementLimits;
}

export const DEFAULT_PLACEMENT_LIMITS: PlacementLimits = {
  maxValueBytes: 1024 * 1024,
  defaultDeadlineMs: 5_000,
  historyRevisions: DEFAULT_HISTORY_LIMITS.maxRevisions,
  historyBytes: DEFAULT_HISTORY_LIMITS.maxBytes,
};

const LARGEST_VALUE_BYTES = 8 * 1024 * 1024;
const MOST_HISTORY_REVISIONS = 10_000_000;
const MOST_HISTORY_BYTES = 4 * 1024 * 1024 * 1024;
const CLUSTER_ID = /^[A-Za-z0-9._-]{1,64}$/;
const MAX_MEMBERS = 100;
const MAX_NODE_ID = (1n << 64n) - 1n;

/**
 * `host:port`; port 0 stands for "choose one".
 * @param name what the value is called where it was typed, for the message.
 * @throws PlacementConfigInvalid
 */
export function parseAddress(text: string, name = "address"): HostAndPort {
  const parts = splitAddress(text);
  if ("problem" in parts) throw new PlacementConfigInvalid(`${name} ${parts.problem}`);
  return parts;
}

/**
 * `1=127.0.0.1:7001,2=127.0.0.1:7002`: the members of a cluster, by id.
 * @throws PlacementConfigInvalid
 */
export function parsePeers(text: string, name = "peers"): ReadonlyMap<NodeId, string> {
  const peers = new Map<NodeId, string>();
  for (const part of text.split(",")) {
    const [, idText = "", address = ""] = /^\s*([0-9]{1,20})=(.*?)\s*$/.exec(part) ?? [];
    const id = idText === "" ? 0n : BigInt(idText);
    if (id < 1n || id > MAX_NODE_ID) {
      throw new PlacementConfigInvalid(
        `${name} ${JSON.stringify(part)} is not id=host:port with an id of 1 or higher, as in 1=127.0.0.1:7001,2=127.0.0.1:7002`,
      );
    }
    if (peers.has(id)) throw new PlacementConfigInvalid(`${name} names node ${id} twice`);
    requireDialable(address, `${name}: address of node ${id}`);
    peers.set(id, address);
  }
  requireDistinct(peers, name);
  return peers;
}

/** Completes and checks a configuration. @throws PlacementConfigInvalid */
export function checkPlacementConfig(config: PlacementConfig): CheckedPlacementConfig {
  const { members } = config;
  if (config.id < 1n || config.id > MAX_NODE_ID) {
    throw new PlacementConfigInvalid(`id must be 1 or higher, is ${config.id}`);
  }
  if (!CLUSTER_ID.test(config.clusterId)) {
    throw new PlacementConfigInvalid(
      `cluster id ${JSON.stringify(config.clusterId)} must be 1 to 64 letters, digits, ".", "_" or "-"`,
    );
  }
  if (config.dataDir === "")
    throw new PlacementConfigInvalid("data folder is empty: name a folder, as in ./data/1");
  if (config.advertise !== undefined) requireDialable(config.advertise, "advertise");
  if (members !== undefined && members.size > 0) checkMembers(config.id, members);
  return {
    ...config,
    listen: parseAddress(config.listen, "listen"),
    http: config.http === undefined ? undefined : parseAddress(config.http, "http"),
    limits: checkLimits({ ...DEFAULT_PLACEMENT_LIMITS, ...config.limits }),
  };
}

function checkMembers(id: NodeId, members: ReadonlyMap<NodeId, string>): void {
  if (members.size > MAX_MEMBERS) {
    throw new PlacementConfigInvalid(
      `members names ${members.size} nodes, at most ${MAX_MEMBERS} are allowed`,
    );
  }
  if (!members.has(id)) {
    const ids = [...members.keys()].join(", ");
    throw new PlacementConfigInvalid(
      `members names ${ids} but not this node, ${id}: name it too, or leave members out to join a cluster that runs`,
    );
  }
  for (const [memberId, address] of members) requireDialable(address, `members: address of node ${memberId}`);
  requireDistinct(members, "members");
}

function requireDialable(address: string, name: string): void {
  if (parseAddress(address, name).port !== 0) return;
  throw new PlacementConfigInvalid(`${name} ${JSON.stringify(address)} has port 0, which nobody can dial`);
}

function requireDistinct(members: ReadonlyMap<NodeId, string>, name: string): void {
  const owners = new Map<string, NodeId>();
  for (const [id, text] of members) {
    const address = formatAddress(parseAddress(text, name));
    const other = owners.get(address);
    if (other !== undefined) {
      throw new PlacementConfigInvalid(`${name} gives nodes ${other} and ${id} the same address ${address}`);
    }
    owners.set(address, id);
  }
}

function checkLimits(limits: PlacementLimits): PlacementLimits {
  requireWhole("maxValueBytes", limits.maxValueBytes, LARGEST_VALUE_BYTES);
  requireWhole("defaultDeadlineMs", limits.defaultDeadlineMs, 60_000);
  requireWhole("historyRevisions", limits.historyRevisions, MOST_HISTORY_REVISIONS);
  requireWhole("historyBytes", limits.historyBytes, MOST_HISTORY_BYTES);
  return limits;
}

function requireWhole(name: string, value: number, most: number): void {
  if (Number.isSafeInteger(value) && value >= 1 && value <= most) return;
  throw new PlacementConfigInvalid(`${name} must be a whole number from 1 to ${most}, is ${value}`);
}
