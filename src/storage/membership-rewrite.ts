// Gives a stopped node's log another membership by hand: for a cluster whose quorum is lost for good. Everything else
// stays: entries, votes that were given, what is committed.

import { dirname } from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { newConfState, newHardState } from "../core/messages.js";
import { inIdOrder, type LogIndex, type NodeId } from "../core/types.js";
import { EntryType, type HardState, HardStateSchema } from "../gen/eraftpb_pb.js";
import { type MembershipRecord, MembershipRecordSchema } from "../gen/records_pb.js";
import { LogEnvironment } from "./environment.js";
import { FolderLock } from "./folder-lock.js";
import { findLogFile, LogInspector } from "./inspect-log.js";
import { RECORD_KEYS, type RecordKey } from "./keys.js";
import { encodeIdentity, type LoadedLog, type LogIdentity, loadLog } from "./load-log.js";
import { StorageFault } from "./storage-fault.js";

/** What the log says before it is changed. */
export interface RewriteFacts {
  readonly file: string;
  readonly identity: LogIdentity;
  readonly hardState: HardState;
  readonly membership: MembershipRecord;
  readonly boundary: LogIndex;
  readonly lastIndex: LogIndex;
  /** Entries in the log that change the membership, or did. */
  readonly membershipEntries: readonly LogIndex[];
}

export interface RewriteTarget {
  /** Every one a voter, with its address; this node among them. */
  readonly members: ReadonlyMap<NodeId, string>;
  /** Nodes of the cluster as it was are refused from then on. Default: as it was. */
  readonly clusterId?: string | undefined;
}

/** What the log will say. */
export interface Rewritten {
  readonly identity: LogIdentity;
  readonly hardState: HardState;
  readonly membership: MembershipRecord;
}

/** Keeps the log's folder locked until it is closed. */
export class MembershipRewrite {
  private constructor(
    readonly facts: RewriteFacts,
    private readonly lock: FolderLock,
  ) {}

  /**
   * Checks the whole log, as a node does that is started with it.
   * @param path the data folder of a node.
   * @throws StorageFault `locked` when the node runs; others when the log is damaged
   */
  static async open(path: string): Promise<MembershipRewrite> {
    const file = findLogFile(path);
    const lock = await FolderLock.acquire(dirname(file));
    try {
      const { identity, membershipEntries } = await inspect(file);
      const loaded = await loadLog(file, identity);
      return new MembershipRewrite({ ...factsOf(file, loaded), identity, membershipEntries }, lock);
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  /**
   * What `apply` would write.
   * @throws StorageFault `inconsistent` for a target that cannot be reached safely
   */
  plan({ members, clusterId }: RewriteTarget): Rewritten {
    const { identity, hardState, lastIndex, membership, membershipEntries } = this.facts;
    if (!members.has(identity.nodeId))
      throw this.#refused(`the new members lack node ${identity.nodeId} itself`);
    const voters = inIdOrder(members.keys());
    const alone = voters.length === 1;
    if (!alone && membershipEntries.length > 0) {
      // Survivors whose logs end at different places would carry them out differently.
      throw this.#refused(
        `its log still holds changes of the membership (entries ${membershipEntries.join(", ")}), which several survivors could not carry out alike; recover one node alone and let the others rejoin under new ids`,
      );
    }
    return {
      identity: { ...identity, clusterId: clusterId ?? identity.clusterId },
      // A new term: whatever the old majority may still say is older than this.
      hardState: newHardState(hardState.term + 1n, 0n, hardState.commit),
      membership: create(MembershipRecordSchema, {
        confState: newConfState({ voters: [...voters] }),
        // Alone, no change of the old membership that the log still holds may be carried out any more.
        index: alone ? lastIndex : membership.index,
        addresses: voters.map((id) => ({ id, address: members.get(id) ?? "" })),
      }),
    };
  }

  /** One atomic write: after a crash either all of it is on disk, or nothing. */
  async apply({ identity, hardState, membership }: Rewritten): Promise<void> {
    const environment = LogEnvironment.open(this.facts.file);
    try {
      const records = new Map<RecordKey, Uint8Array>([
        [RECORD_KEYS.identity, encodeIdentity(identity)],
        [RECORD_KEYS.hardState, toBinary(HardStateSchema, hardState)],
        [RECORD_KEYS.confState, toBinary(MembershipRecordSchema, membership)],
      ]);
      await environment.write({ records, entries: [], removals: [] });
    } finally {
      await environment.close();
    }
  }

  close(): Promise<void> {
    return this.lock.release();
  }

  #refused(problem: string): StorageFault {
    const remedy = "choose other members, or leave them out to go on with this node alone";
    return new StorageFault("inconsistent", { file: this.facts.file, problem, remedy });
  }
}

async function inspect(
  file: string,
): Promise<{ readonly identity: LogIdentity; readonly membershipEntries: readonly LogIndex[] }> {
  const inspector = await LogInspector.open(file, { exclusive: true });
  try {
    const membershipEntries: LogIndex[] = [];
    for (const item of inspector.items()) {
      if (item.kind !== "entry" || item.standing === "leftover") continue;
      if (item.entry.entryType !== EntryType.EntryNormal) membershipEntries.push(item.entry.index);
    }
    const { identity } = inspector.records;
    if (identity !== undefined) return { identity, membershipEntries };
    throw new StorageFault("checksum", {
      file,
      key: RECORD_KEYS.identity,
      problem: "whose log this is cannot be read",
      remedy: "recover another node of the cluster, whose log is sound",
    });
  } finally {
    await inspector.close();
  }
}

function factsOf(file: string, loaded: LoadedLog): Omit<RewriteFacts, "identity" | "membershipEntries"> {
  const { extent, hardState, membership } = loaded;
  return { file, hardState, membership, boundary: extent.boundary.index, lastIndex: extent.last };
}
