// What a local cluster remembers about itself in its data folder, so that a second start finds the same cluster.

import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CommandError, ExitStatus } from "../exit-status.js";

export interface ClusterNode {
  readonly id: number;
  /** host:port of gRPC and Connect over HTTP/2; also what the other nodes know it by. */
  readonly listen: string;
  /** host:port of HTTP/1.1, for curl and browsers. */
  readonly http: string;
}

export interface ClusterFile {
  readonly clusterId: string;
  readonly nodes: readonly ClusterNode[];
}

const FORMAT = 1;
const NODE_COUNT = 3;
const HOST = "127.0.0.1";

export interface ClusterPorts {
  /** The first of three in a row; undefined: what the data folder says, or the default. */
  readonly port: number | undefined;
  readonly httpPort: number | undefined;
}

export const DEFAULT_PORT = 7001;
export const DEFAULT_HTTP_PORT = 8001;

/**
 * Reads `cluster.json` of a data folder, or writes it into an empty one.
 * @throws CommandError when the folder belongs to something else, or was made with other ports.
 */
export function openClusterFile(folder: string, ports: ClusterPorts): ClusterFile {
  const path = join(folder, "cluster.json");
  if (existsSync(path)) return checkPorts(readClusterFile(path), ports, folder);
  refuseForeignFolder(folder);
  const cluster = newCluster(ports);
  mkdirSync(folder, { recursive: true });
  // Complete or not there at all: a half-written file would make the folder look like somebody else's.
  const draft = `${path}.tmp`;
  writeFileSync(draft, `${JSON.stringify({ format: FORMAT, ...cluster }, undefined, 2)}\n`);
  renameSync(draft, path);
  return cluster;
}

export function nodeFolder(folder: string, node: ClusterNode): string {
  return join(folder, `node-${node.id}`);
}

/** Beside the nodes' own folders, which hold nothing but their data. */
export function nodeLogFile(folder: string, node: ClusterNode): string {
  return join(folder, "logs", `node-${node.id}.jsonl`);
}

function newCluster({
  port = DEFAULT_PORT,
  httpPort = DEFAULT_HTTP_PORT,
}: Partial<ClusterPorts>): ClusterFile {
  const nodes = Array.from({ length: NODE_COUNT }, (_, at) => ({
    id: at + 1,
    listen: `${HOST}:${(port ?? DEFAULT_PORT) + at}`,
    http: `${HOST}:${(httpPort ?? DEFAULT_HTTP_PORT) + at}`,
  }));
  return { clusterId: randomUUID(), nodes };
}

function refuseForeignFolder(folder: string): void {
  if (!existsSync(folder)) return;
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    throw new CommandError(
      ExitStatus.failed,
      `${folder} is no folder: choose another with --data.`,
      "foreignData",
    );
  }
  if (names.length === 0 || names.every((name) => name === "cluster.json.tmp")) return;
  throw new CommandError(
    ExitStatus.failed,
    `${folder} is not empty and holds no data of a local cluster (there is no cluster.json): choose another folder with --data, or empty this one.`,
    "foreignData",
  );
}

function readClusterFile(path: string): ClusterFile {
  let content: unknown;
  try {
    content = JSON.parse(readFileSync(path, "utf8"));
  } catch {
    content = undefined;
  }
  if (isClusterFile(content)) return { clusterId: content.clusterId, nodes: content.nodes };
  throw new CommandError(
    ExitStatus.failed,
    `${path} cannot be read as the description of a local cluster: choose another folder with --data, or restore that file.`,
    "foreignData",
  );
}

/** The addresses are part of the replicated membership: the nodes would go on looking for each other at the old ones. */
function checkPorts(cluster: ClusterFile, { port, httpPort }: ClusterPorts, folder: string): ClusterFile {
  const asked = newCluster({ port, httpPort });
  const differs = cluster.nodes.some(
    (node, at) =>
      (port !== undefined && node.listen !== asked.nodes[at]?.listen) ||
      (httpPort !== undefined && node.http !== asked.nodes[at]?.http),
  );
  if (!differs) return cluster;
  const listens = cluster.nodes.map((node) => node.listen).join(", ");
  throw new CommandError(
    ExitStatus.failed,
    `The cluster in ${folder} was made for ${listens}: leave out --port and --http-port, or choose another folder with --data.`,
    "foreignData",
  );
}

function isClusterFile(value: unknown): value is ClusterFile {
  return (
    isObject(value) &&
    value["format"] === FORMAT &&
    typeof value["clusterId"] === "string" &&
    Array.isArray(value["nodes"]) &&
    value["nodes"].length === NODE_COUNT &&
    value["nodes"].every(isClusterNode)
  );
}

function isClusterNode(value: unknown): value is ClusterNode {
  return (
    isObject(value) &&
    Number.isSafeInteger(value["id"]) &&
    typeof value["listen"] === "string" &&
    typeof value["http"] === "string"
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
