// What a node is started with by this command, complete and checked.

import type { PlacementConfig } from "../placement/config.js";
import type { LogLevel } from "./config/settings.js";

/** See docs/configuration.md. */
export interface NodeOptions {
  readonly id: bigint;
  readonly clusterId: string;
  readonly data: string;
  readonly listen: string;
  readonly advertise: string | undefined;
  readonly http: string | undefined;
  readonly members: ReadonlyMap<bigint, string> | undefined;
  readonly tls: PlacementConfig["tls"];
  readonly insecurePeers: boolean;
  readonly access: PlacementConfig["access"];
  readonly tickMs: number;
  readonly maxValueBytes: number;
  readonly defaultDeadlineMs: number;
  readonly historyRevisions: number;
  readonly historyBytes: number;
  readonly compactAfterEntries: number;
  readonly compactKeepEntries: number;
  readonly leaseReads: boolean;
  readonly forwarding: PlacementConfig["forwarding"];
  readonly logQuotaBytes: number;
  readonly minFreeBytes: number;
  readonly logLevel: LogLevel;
}

export function toPlacementConfig(options: NodeOptions, logger: PlacementConfig["logger"]): PlacementConfig {
  const { maxValueBytes, defaultDeadlineMs, historyRevisions, historyBytes } = options;
  return {
    id: options.id,
    clusterId: options.clusterId,
    dataDir: options.data,
    listen: options.listen,
    advertise: options.advertise,
    http: options.http,
    members: options.members,
    tls: options.tls,
    insecurePeers: options.insecurePeers,
    access: options.access,
    tickIntervalMs: options.tickMs,
    limits: { maxValueBytes, defaultDeadlineMs, historyRevisions, historyBytes },
    compaction: { afterEntries: options.compactAfterEntries, keepEntries: options.compactKeepEntries },
    leaseReads: options.leaseReads,
    forwarding: options.forwarding,
    space: { quotaBytes: options.logQuotaBytes, minFreeBytes: options.minFreeBytes },
    logger,
  };
}
