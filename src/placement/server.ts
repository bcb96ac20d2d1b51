// A node of the placement center: the key-value store on an embedded raft node, with its services.

import { type EmbeddedNode, embedRaftNode } from "../embed.js";
import type { HostAndPort } from "../services/address.js";
import { checkPlacementConfig, type PlacementConfig } from "./config.js";
import { kvMetrics } from "./kv/kv-metrics.js";
import { kvRoutes } from "./kv/kv-service.js";
import { KvStateMachine } from "./kv/kv-state-machine.js";

export interface PlacementCenter {
  readonly node: EmbeddedNode<KvStateMachine>["node"];
  readonly store: KvStateMachine;
  /** Where it listens for peers and clients. */
  readonly address: HostAndPort;
  readonly httpAddress: HostAndPort | undefined;
  /** Resolves when the node has failed for good: nothing was acknowledged after that, and the process should end. */
  readonly fatal: Promise<Error>;
  /** Reads the certificates again now; it happens by itself every few seconds. Resolves with whether they are new. */
  reloadTls(): Promise<boolean>;
  /** Reads the tokens again now; it happens by itself every few seconds. Resolves with whether they are new. */
  reloadAccess(): Promise<boolean>;
  /** Hands leadership over, lets open calls end, closes the files. */
  stop(): Promise<void>;
}

/** Key, framing and log overhead of a command beside its value. */
const COMMAND_OVERHEAD_BYTES = 64 * 1024;
const LEAST_PROPOSAL_BYTES = 1.5 * 1024 * 1024;

/**
 * Starts a node. Its data folder holds `log`, `snapshots` and `kv`.
 * @throws PlacementConfigInvalid, TlsConfigInvalid, AccessConfigInvalid, ListenError, StorageFault: sentences for operators; nothing is left running.
 */
export async function startPlacementCenter(config: PlacementConfig): Promise<PlacementCenter> {
  const { limits, logger, members, space, ...checked } = checkPlacementConfig(config);
  const embedded = await embedRaftNode({
    ...checked,
    logger,
    members: [...(members ?? [])].map(([id, address]) => ({ id, address })),
    stateDir: "kv",
    log: space && { space },
    stateMachine: (dir) =>
      KvStateMachine.open({
        dir,
        logger,
        history: { maxRevisions: limits.historyRevisions, maxBytes: limits.historyBytes },
      }),
    prometheus: kvMetrics,
    routes: ({ node, stateMachine, calls }) =>
      kvRoutes({ node, calls, machine: stateMachine, maxValueBytes: limits.maxValueBytes }),
    nodeLimits: {
      maxProposalBytes: Math.max(LEAST_PROPOSAL_BYTES, limits.maxValueBytes + COMMAND_OVERHEAD_BYTES),
      defaultDeadlineMs: limits.defaultDeadlineMs,
    },
    callBudget: { defaultDeadlineMs: limits.defaultDeadlineMs },
  });
  return {
    node: embedded.node,
    store: embedded.stateMachine,
    address: embedded.address,
    httpAddress: embedded.httpAddress,
    fatal: embedded.node.fatal,
    reloadTls: () => embedded.reloadTls(),
    reloadAccess: () => embedded.reloadAccess(),
    stop: () => embedded.close(),
  };
}
