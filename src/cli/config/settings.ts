// Every setting of a node, once: the key in the file, the variable in the environment and the flag are made from the
// same name, and the same text is read in the same way wherever it comes from.

import { InvalidArgumentError } from "commander";
import { DEFAULT_COMPACTION, DEFAULT_TICK_INTERVAL_MS } from "../../node/options.js";
import { DEFAULT_PLACEMENT_LIMITS } from "../../placement/config.js";
import { FORWARDING, type Forwarding } from "../../services/leader-calls.js";
import { DEFAULT_SPACE_LIMITS } from "../../storage/space-guard.js";
import { parseClusterId, parseCount, parseHostPort, parseMembers, parseNodeId } from "../arguments.js";

export interface Setting<Value> {
  /** In the file, and as `--key`. */
  readonly key: string;
  /** What the flag takes: `host:port`; absent for a flag that takes nothing. */
  readonly takes?: string;
  readonly describe: string;
  /** The text that stands for the value when nobody gives one. */
  readonly fallback?: string;
  /** What happens without a value, where no text stands for that. */
  readonly without?: string;
  /** @throws InvalidArgumentError saying what would be right */
  readonly parse: (text: string) => Value;
}

export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

const MAX_TICK_MS = 60_000;
const MAX_DEADLINE_MS = 60_000;
const MAX_VALUE_BYTES = 8 * 1024 * 1024;
const MAX_HISTORY_REVISIONS = 10_000_000;
const MAX_HISTORY_BYTES = 4 * 1024 ** 3;
const MIB = 1024 ** 2;
const MAX_QUOTA_BYTES = 1024 ** 4;
const MAX_LOG_ENTRIES = 1_000_000_000;

export const SETTINGS = {
  id: setting({
    key: "id",
    takes: "number",
    describe: "of this node; unique in the cluster for ever",
    without: "required",
    parse: parseNodeId,
  }),
  clusterId: setting({
    key: "cluster-id",
    takes: "name",
    describe: "nodes of other clusters are refused: 1 to 64 letters, digits, . _ -",
    without: "required",
    parse: parseClusterId,
  }),
  data: setting({
    key: "data",
    takes: "folder",
    describe: "where this node, and no other, keeps its data",
    without: "required",
    parse: parseFolder,
  }),
  listen: setting({
    key: "listen",
    takes: "host:port",
    describe: "gRPC and Connect over HTTP/2, for peers and clients",
    fallback: "127.0.0.1:7001",
    parse: parseHostPort,
  }),
  http: setting({
    key: "http",
    takes: "host:port",
    describe: "HTTP/1.1 with JSON, for curl",
    without: "none",
    parse: parseHostPort,
  }),
  advertise: setting({
    key: "advertise",
    takes: "host:port",
    describe: "where the others reach `listen`",
    without: "as in `members`, else `listen`",
    parse: parseHostPort,
  }),
  members: setting({
    key: "members",
    takes: "id=host:port,...",
    describe: "the members that a new cluster begins with; only looked at while the data folder is blank",
    without: "none: then `join` is required",
    parse: parseMembers,
  }),
  join: setting({
    key: "join",
    describe: "wait to be added to a cluster that runs, in place of `members`",
    fallback: "false",
    parse: parseSwitch,
  }),
  tlsCert: setting({
    key: "tls-cert",
    takes: "file",
    describe:
      "PEM: the certificate of this node with its chain; read again when it changes. Goes with `tls-key`",
    without: "none: no TLS",
    parse: parseFile,
  }),
  tlsKey: setting({
    key: "tls-key",
    takes: "file",
    describe: "PEM: the key of `tls-cert`",
    without: "none: no TLS",
    parse: parseFile,
  }),
  tlsCa: setting({
    key: "tls-ca",
    takes: "file",
    describe:
      "PEM: the authorities that sign peers and clients; nobody gets in without a certificate of theirs",
    without: "none: clients need no certificate",
    parse: parseFile,
  }),
  tlsPeerNames: setting({
    key: "tls-peer-names",
    takes: "name,...",
    describe: "of these, a peer's certificate must hold one",
    without: "any name",
    parse: parseNames,
  }),
  tlsOptionalClientCerts: setting({
    key: "tls-optional-client-certs",
    describe: "with `tls-ca`, clients may also come without a certificate: their tokens say who they are",
    fallback: "false",
    parse: parseSwitch,
  }),
  insecurePeers: setting({
    key: "insecure-peers",
    describe:
      "without TLS, let other machines in: the network is trusted; without `tokens`, with everybody on it",
    fallback: "false",
    parse: parseSwitch,
  }),
  tokens: setting({
    key: "tokens",
    takes: "file",
    describe: "TOML: who has which token, and what it opens; read again when it changes",
    without: "none: who calls from this machine, or with a certificate, may do everything",
    parse: parseFile,
  }),
  peerTokenFile: setting({
    key: "peer-token-file",
    takes: "file",
    describe: "holds the token that this node shows to the others; needed with `tokens` but without `tls-ca`",
    without: "none",
    parse: parseFile,
  }),
  anonymous: setting({
    key: "anonymous",
    describe: "whoever calls without a token or certificate, from anywhere, may do everything",
    fallback: "false",
    parse: parseSwitch,
  }),
  tickMs: setting({
    key: "tick-ms",
    takes: "milliseconds",
    describe: "ten to fifteen ticks without a leader start an election",
    fallback: String(DEFAULT_TICK_INTERVAL_MS),
    parse: (text) => parseCount(text, 1, MAX_TICK_MS),
  }),
  maxValueBytes: setting({
    key: "max-value-bytes",
    takes: "bytes",
    describe: `larger values are refused; at most ${MAX_VALUE_BYTES}`,
    fallback: String(DEFAULT_PLACEMENT_LIMITS.maxValueBytes),
    parse: (text) => parseCount(text, 1, MAX_VALUE_BYTES),
  }),
  leaseReads: setting({
    key: "lease-reads",
    describe:
      "let the leader answer reads that allow it by its lease, without asking; the same on every node",
    fallback: "false",
    parse: parseSwitch,
  }),
  forwarding: setting({
    key: "forwarding",
    takes: "way",
    describe:
      "what a node that does not lead does with writes and linearizable reads: forward them to the leader, or refuse them and say who leads",
    fallback: "forward",
    parse: parseForwarding,
  }),
  defaultDeadlineMs: setting({
    key: "default-deadline-ms",
    takes: "milliseconds",
    describe: "for clients that name no deadline",
    fallback: String(DEFAULT_PLACEMENT_LIMITS.defaultDeadlineMs),
    parse: (text) => parseCount(text, 1, MAX_DEADLINE_MS),
  }),
  historyRevisions: setting({
    key: "history-revisions",
    takes: "count",
    describe: "recent changes kept in memory for watches and for ranges of earlier revisions",
    fallback: String(DEFAULT_PLACEMENT_LIMITS.historyRevisions),
    parse: (text) => parseCount(text, 1, MAX_HISTORY_REVISIONS),
  }),
  historyBytes: setting({
    key: "history-bytes",
    takes: "bytes",
    describe: "the memory of these changes, at most",
    fallback: String(DEFAULT_PLACEMENT_LIMITS.historyBytes),
    parse: (text) => parseCount(text, 1, MAX_HISTORY_BYTES),
  }),
  logQuotaBytes: setting({
    key: "log-quota-bytes",
    takes: "bytes",
    describe: "data in the log, at most: beyond it writes are refused until the log is cut",
    fallback: String(DEFAULT_SPACE_LIMITS.quotaBytes),
    parse: (text) => parseCount(text, MIB, MAX_QUOTA_BYTES),
  }),
  minFreeBytes: setting({
    key: "min-free-bytes",
    takes: "bytes",
    describe: "with less than this free on the disk, writes are refused; deletes and reads go on",
    fallback: String(DEFAULT_SPACE_LIMITS.minFreeBytes),
    parse: (text) => parseCount(text, DEFAULT_SPACE_LIMITS.reserveBytes, MAX_QUOTA_BYTES),
  }),
  compactAfterEntries: setting({
    key: "compact-after-entries",
    takes: "count",
    describe: "the log is cut when it has so many entries that the state contains",
    fallback: String(DEFAULT_COMPACTION.afterEntries),
    parse: (text) => parseCount(text, 1, MAX_LOG_ENTRIES),
  }),
  compactKeepEntries: setting({
    key: "compact-keep-entries",
    takes: "count",
    describe: "of these, so many stay for nodes that are a little behind; fewer than `compact-after-entries`",
    fallback: String(DEFAULT_COMPACTION.keepEntries),
    parse: (text) => parseCount(text, 0, MAX_LOG_ENTRIES),
  }),
  logLevel: setting({
    key: "log-level",
    takes: "level",
    describe: `what to log: ${LOG_LEVELS.join(", ")}; \`placement-center log-level\` changes it while the node runs`,
    fallback: "info",
    parse: parseLogLevel,
  }),
};

export type SettingName = keyof typeof SETTINGS;

export const SETTING_NAMES = Object.keys(SETTINGS).filter(isSettingName);

function isSettingName(name: string): name is SettingName {
  return name in SETTINGS;
}

/** `tick-ms` is `PLACEMENT_TICK_MS` in the environment. */
export function environmentName(key: string): string {
  return `PLACEMENT_${key.replaceAll("-", "_").toUpperCase()}`;
}

export function parseLogLevel(text: string): LogLevel {
  const level = LOG_LEVELS.find((known) => known === text);
  if (level === undefined) throw new InvalidArgumentError(`Allowed choices are ${LOG_LEVELS.join(", ")}.`);
  return level;
}

function parseFolder(text: string): string {
  if (text === "") throw new InvalidArgumentError("Name a folder, as in ./data/1.");
  return text;
}

function parseFile(text: string): string {
  if (text === "") throw new InvalidArgumentError("Name a file.");
  return text;
}

function parseNames(text: string): readonly string[] {
  const names = text.split(",").map((name) => name.trim());
  if (names.includes("")) throw new InvalidArgumentError("Write names with commas between them.");
  return names;
}

function parseSwitch(text: string): boolean {
  if (text === "true") return true;
  if (text === "false") return false;
  throw new InvalidArgumentError("It must be true or false.");
}

function parseForwarding(text: string): Forwarding {
  const forwarding = FORWARDING.find((way) => way === text);
  if (forwarding === undefined) throw new InvalidArgumentError("It must be forward or refuse.");
  return forwarding;
}

function setting<Value>(described: Setting<Value>): Setting<Value> {
  return described;
}
