// Reads what was typed: every mistake is named, with what would have been right. Commander shows it and ends with 2.

import { type Command, InvalidArgumentError, Option } from "commander";
import { parseAddress, parsePeers } from "../placement/config.js";

export const DEFAULT_ENDPOINTS = ["127.0.0.1:7001", "127.0.0.1:7002", "127.0.0.1:7003"];
/** The token of a client: never a flag, because whoever is on the machine can read those. */
export const TOKEN_VARIABLE = "PLACEMENT_CENTER_TOKEN";
export const TOKEN_FILE_VARIABLE = "PLACEMENT_TOKEN_FILE";
const DEFAULT_DEADLINE_MS = 5_000;
/** Of what reads or writes a whole store. */
export const LONG_DEADLINE_MS = 600_000;
const MAX_UINT64 = (1n << 64n) - 1n;

/** What every command that talks to a cluster takes. */
export interface ClientOptions {
  readonly endpoints: readonly string[];
  readonly deadlineMs: number;
  readonly json?: boolean;
  /** A file with a token in it. */
  readonly tokenFile?: string;
  /** TLS also where none of the files is named. */
  readonly tls?: boolean;
  /** Files. */
  readonly tlsCa?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
}

/** Where the cluster is, how to be let in, how long to wait, how to answer. */
export function addClientOptions(command: Command, deadlineMs = DEFAULT_DEADLINE_MS): Command {
  return command
    .addOption(endpointsOption())
    .addOption(deadlineOption(deadlineMs))
    .addOption(
      new Option(
        "--token-file <file>",
        `holds the token of this client (or ${TOKEN_VARIABLE}: the token itself)`,
      ).env(TOKEN_FILE_VARIABLE),
    )
    .addOption(
      new Option(
        "--tls",
        "use TLS, and trust the authorities that Node.js trusts, unless --tls-ca names others",
      ),
    )
    .addOption(fileOption("tls-ca", "PEM: the authorities that sign the nodes' certificates"))
    .addOption(fileOption("tls-cert", "PEM: the certificate of this client, for mutual TLS"))
    .addOption(fileOption("tls-key", "PEM: the key of --tls-cert"))
    .addOption(jsonOption());
}

function fileOption(key: string, describe: string): Option {
  return new Option(`--${key} <file>`, describe).env(`PLACEMENT_${key.replaceAll("-", "_").toUpperCase()}`);
}

function endpointsOption(): Option {
  return new Option("-e, --endpoints <host:port,...>", "nodes of the cluster; one that answers is enough")
    .env("PLACEMENT_ENDPOINTS")
    .default(DEFAULT_ENDPOINTS, DEFAULT_ENDPOINTS.join(","))
    .argParser(parseEndpoints);
}

function deadlineOption(usualMs: number): Option {
  return new Option("--deadline-ms <milliseconds>", "give up after this long")
    .default(usualMs)
    .argParser((text: string) => parseCount(text, 1, 3_600_000));
}

export function jsonOption(): Option {
  return new Option("--json", "print JSON instead of text");
}

export function parseEndpoints(text: string): string[] {
  return text.split(",").map((part) => parseHostPort(part));
}

/** `host:port`, as it was typed. */
export function parseHostPort(text: string): string {
  rethrowAsUsage(() => parseAddress(text));
  return text;
}

/** `1=host:port,2=host:port`, as typed. */
export function parseMembers(text: string): ReadonlyMap<bigint, string> {
  return rethrowAsUsage(() => parsePeers(text));
}

/** `4=host:port`: one of them. */
export function parseMember(text: string): readonly [bigint, string] {
  const [member, ...more] = parseMembers(text);
  if (member === undefined || more.length > 0) {
    throw new InvalidArgumentError("It must be one id=host:port, as in 4=127.0.0.1:7004.");
  }
  return member;
}

/** `4=host:port`, or `4` of a member whose address is known. */
export function parseMemberWord(text: string): readonly [bigint, string] {
  return text.includes("=") ? parseMember(text) : [parseNodeId(text), ""];
}

export function parseNodeId(text: string): bigint {
  if (!/^\d{1,20}$/.test(text)) throw new InvalidArgumentError("A node id is a whole number of at least 1.");
  const id = BigInt(text);
  if (id < 1n || id > MAX_UINT64)
    throw new InvalidArgumentError(`A node id lies between 1 and ${MAX_UINT64}.`);
  return id;
}

export function parseClusterId(text: string): string {
  if (/^[A-Za-z0-9._-]{1,64}$/.test(text)) return text;
  throw new InvalidArgumentError('It must be 1 to 64 letters, digits, ".", "_" or "-".');
}

/** A position in the log. */
export function parseIndex(text: string): bigint {
  const index = /^\d{1,20}$/.test(text) ? BigInt(text) : MAX_UINT64 + 1n;
  if (index > MAX_UINT64) throw new InvalidArgumentError("An index is a whole number of at least 0.");
  return index;
}

/** A whole number between two limits, both included. */
export function parseCount(text: string, least: number, most: number): number {
  const count = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (count >= least && count <= most) return count;
  throw new InvalidArgumentError(`It must be a whole number from ${least} to ${most}.`);
}

function rethrowAsUsage<Result>(parse: () => Result): Result {
  try {
    return parse();
  } catch (error) {
    throw new InvalidArgumentError(error instanceof Error ? error.message : String(error));
  }
}
